#include "../../catch.h"
#include "ops/cuda/geometry.h"

using namespace mpelu;
using cuda::Plan;
using Reduction = cuda::Plan::Reduction;

namespace {

constexpr int64_t kSizes[] = {1, 2, 3, 5, 8, 16, 31, 33, 64, 100, 257, 1024, 5000, 100000};

/// Calls function(layout, element_size, plan, blocks): the plan is to have so many blocks, or
/// fewer.
template <typename Function>
void for_each_plan(const Function& function) {
  for (const int64_t outer : kSizes) {
    for (const int64_t channels : kSizes) {
      for (const int64_t inner : kSizes) {
        for (const int64_t element_size : {2, 4, 8}) {
          for (const bool aligned : {false, true}) {
            const Layout layout{outer, channels, inner};
            function(layout, element_size, cuda::plan_sums(layout, element_size, aligned),
                     cuda::kManyBlocks);
            function(layout, element_size,
                     cuda::plan_sums(layout, element_size, aligned, cuda::kBatchNormColumns),
                     cuda::kManyBlocks);
            const int64_t widest = cuda::kAccessBytes / element_size;
            if (aligned && (cuda::has_mixed_columns(layout, widest) ||
                            cuda::has_long_columns(layout, widest, 1))) {
              for (const int64_t in_flight : {1, 4}) {
                function(layout, element_size, cuda::plan_columnwise(layout, widest, in_flight),
                         cuda::kElementwiseBlocks);
              }
            }
          }
        }
      }
    }
  }
}

/// One assertion for all: Catch's own take longer than the plans.
struct Count {
  int64_t wrong = 0;
  void expect(bool right) { wrong += !right; }
};

}  // namespace

CATCH_TEST_CASE("a plan's blocks cover every row and column, and no block is without work",
                "[cuda]") {
  Count count;
  for_each_plan([&](const Layout& layout, int64_t, const Plan& plan, int64_t) {
    const bool rows = plan.reduction == Reduction::Rows;
    const int64_t n = plan.elements_per_access;
    const int64_t length = rows ? layout.outer * layout.inner / n : layout.outer;
    count.expect(plan.splits * plan.split_length >= length);
    count.expect((plan.splits - 1) * plan.split_length < length);
    if (rows) {
      count.expect(plan.tiles == layout.channels && plan.columns == layout.channels);
    } else {
      const int64_t columns = layout.channels * layout.inner;
      count.expect(plan.columns == columns);
      count.expect(plan.tiles * plan.width * n >= columns);
      count.expect((plan.tiles - 1) * plan.width * n < columns);
    }
  });
  CATCH_CHECK(count.wrong == 0);
}

CATCH_TEST_CASE("a plan fits the limits of blocks and grids", "[cuda]") {
  Count count;
  for_each_plan([&](const Layout& layout, int64_t, const Plan& plan, int64_t blocks) {
    count.expect(plan.threads >= 1 && plan.threads <= cuda::kTileThreads);
    count.expect(plan.width >= 1 && plan.threads == plan.width * plan.height());
    count.expect(plan.blocks() < blocks + plan.tiles);
    count.expect(plan.tiles <= layout.channels * layout.inner);
  });
  CATCH_CHECK(count.wrong == 0);
}

CATCH_TEST_CASE("a plan reads 16 bytes at a time where rows or columns and pointers allow",
                "[cuda]") {
  Count count;
  for_each_plan([&](const Layout& layout, int64_t element_size, const Plan& plan, int64_t) {
    const int64_t pitch = plan.reduction == Reduction::Rows ? layout.inner : plan.columns;
    count.expect(pitch % plan.elements_per_access == 0);
    count.expect(plan.elements_per_access == 1 || plan.elements_per_access * element_size == 16 ||
                 (plan.reduction == Reduction::Columns &&
                  plan.elements_per_access == cuda::kBatchNormColumns));
  });
  CATCH_CHECK(count.wrong == 0);
  CATCH_CHECK(cuda::plan_sums({64, 16, 1024}, 4, true).elements_per_access == 4);
  CATCH_CHECK(cuda::plan_sums({64, 16, 1024}, 4, false).elements_per_access == 1);
  CATCH_CHECK(cuda::plan_sums({65536, 16, 1}, 2, true).elements_per_access == 8);
  CATCH_CHECK(cuda::plan_sums({64, 2048, 49}, 4, true).elements_per_access == 4);
  CATCH_CHECK(cuda::plan_sums({65536, 16, 1}, 2, true, 4).elements_per_access == 4);
  CATCH_CHECK(cuda::plan_sums({64, 16, 1024}, 2, true, 4).elements_per_access == 8);
}

CATCH_TEST_CASE("the layouts of networks get the reduction that reads them in order", "[cuda]") {
  const auto reduction = [](const Layout& layout) {
    return cuda::plan_sums(layout, 4, true).reduction;
  };
  CATCH_CHECK(reduction({64, 16, 1024}) == Reduction::Rows);     // contiguous
  CATCH_CHECK(reduction({65536, 16, 1}) == Reduction::Columns);  // channels last
  CATCH_CHECK(reduction({1, 1, 1048576}) == Reduction::Rows);    // shared parameters
  CATCH_CHECK(reduction({64, 2048, 49}) == Reduction::Columns);  // rows of odd length
  CATCH_CHECK(reduction({2, 2048, 49}) == Reduction::Rows);      // the same with a small batch
}

CATCH_TEST_CASE("elements go by columns where an access has those of several channels", "[cuda]") {
  CATCH_CHECK(cuda::has_mixed_columns({65536, 16, 1}, 4));        // channels last
  CATCH_CHECK(cuda::has_mixed_columns({64, 2048, 49}, 8));        // rows of odd length
  CATCH_CHECK_FALSE(cuda::has_mixed_columns({64, 16, 1024}, 4));  // contiguous
  CATCH_CHECK_FALSE(cuda::has_mixed_columns({1, 1, 1023}, 4));    // shared parameters
  CATCH_CHECK_FALSE(cuda::has_mixed_columns({65536, 3, 1}, 4));   // no access begins with a row
}

CATCH_TEST_CASE("elements of one channel go by columns where these are many and long", "[cuda]") {
  CATCH_CHECK(cuda::has_long_columns({512, 64, 1024}, 8, 2));         // 64 MB of a half type
  CATCH_CHECK_FALSE(cuda::has_long_columns({64, 16, 1024}, 8, 2));    // a layer's 2 MB
  CATCH_CHECK_FALSE(cuda::has_long_columns({4, 64, 65536}, 8, 2));    // few rows
  CATCH_CHECK_FALSE(cuda::has_long_columns({4096, 256, 49}, 8, 2));   // rows of odd length
  CATCH_CHECK_FALSE(cuda::has_long_columns({64, 1, 1 << 20}, 8, 2));  // shared parameters
}

CATCH_TEST_CASE("an elementwise kernel by columns has blocks for every round up to many",
                "[cuda]") {
  CATCH_CHECK(cuda::plan_columnwise({128, 2048, 1}, 4, 1).blocks() == 256);
  CATCH_CHECK(cuda::plan_columnwise({1 << 20, 64, 1}, 4, 4).blocks() == cuda::kElementwiseBlocks);
}

CATCH_TEST_CASE("the last blocks of long columns leave little of a large device idle", "[cuda]") {
  constexpr int64_t kAtATime = 132 * 4;  // an H200's multiprocessors, with four blocks each
  for (const Layout& layout :
       {Layout{128, 256, 1024}, Layout{64, 64, 12544}, Layout{32, 256, 3136}, Layout{64, 96, 12544},
        Layout{64, 128, 12544}, Layout{66, 256, 1024}, Layout{512, 512, 784}}) {
    CATCH_REQUIRE(cuda::has_long_columns(layout, 8, 2));
    const Plan plan = cuda::plan_columnwise(layout, 8, 2);
    const int64_t waves = ceil_divide(plan.blocks(), kAtATime);
    CATCH_CHECK(plan.blocks() > 0.85 * waves * kAtATime);
  }
}

CATCH_TEST_CASE("a small channel is summed by one block, a large one by many", "[cuda]") {
  CATCH_CHECK(cuda::plan_sums({64, 256, 64}, 4, true).splits == 1);
  CATCH_CHECK(cuda::plan_sums({64, 16, 1024}, 4, true).splits == 16);
  CATCH_CHECK(cuda::plan_sums({65536, 16, 1}, 4, true).splits == 256);
  CATCH_CHECK(cuda::plan_sums({1, 1, int64_t{1} << 33}, 4, true).splits == cuda::kManyBlocks);
}
