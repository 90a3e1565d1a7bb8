#include "../../catch.h"
#include "ops/cuda/geometry.h"

using namespace mpelu;
using cuda::BackwardPlan;
using Reduction = cuda::BackwardPlan::Reduction;

namespace {

constexpr int64_t kSizes[] = {1, 2, 3, 5, 8, 16, 31, 33, 64, 100, 257, 1024, 5000, 100000};

template <typename Function>
void for_each_plan(const Function& function) {
  for (const int64_t outer : kSizes) {
    for (const int64_t channels : kSizes) {
      for (const int64_t inner : kSizes) {
        for (const int64_t element_size : {2, 4, 8}) {
          for (const bool aligned : {false, true}) {
            const Layout layout{outer, channels, inner};
            function(layout, element_size, cuda::plan_backward(layout, element_size, aligned));
            function(layout, element_size,
                     cuda::plan_backward(layout, element_size, aligned, cuda::kBatchNormColumns));
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
  for_each_plan([&](const Layout& layout, int64_t, const BackwardPlan& plan) {
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
  for_each_plan([&](const Layout& layout, int64_t, const BackwardPlan& plan) {
    count.expect(plan.threads >= 1 && plan.threads <= cuda::kBackwardThreads);
    count.expect(plan.width >= 1 && plan.threads == plan.width * plan.height());
    count.expect(plan.blocks() <= std::max(cuda::kBackwardBlocks, layout.channels * layout.inner));
  });
  CATCH_CHECK(count.wrong == 0);
}

CATCH_TEST_CASE("a plan reads 16 bytes at a time where rows or columns and pointers allow",
                "[cuda]") {
  Count count;
  for_each_plan([&](const Layout& layout, int64_t element_size, const BackwardPlan& plan) {
    const int64_t pitch = plan.reduction == Reduction::Rows ? layout.inner : plan.columns;
    count.expect(pitch % plan.elements_per_access == 0);
    count.expect(plan.elements_per_access == 1 || plan.elements_per_access * element_size == 16 ||
                 (plan.reduction == Reduction::Columns &&
                  plan.elements_per_access == cuda::kBatchNormColumns));
  });
  CATCH_CHECK(count.wrong == 0);
  CATCH_CHECK(cuda::plan_backward({64, 16, 1024}, 4, true).elements_per_access == 4);
  CATCH_CHECK(cuda::plan_backward({64, 16, 1024}, 4, false).elements_per_access == 1);
  CATCH_CHECK(cuda::plan_backward({65536, 16, 1}, 2, true).elements_per_access == 8);
  CATCH_CHECK(cuda::plan_backward({64, 2048, 49}, 4, true).elements_per_access == 4);
  CATCH_CHECK(cuda::plan_backward({65536, 16, 1}, 2, true, 4).elements_per_access == 4);
  CATCH_CHECK(cuda::plan_backward({64, 16, 1024}, 2, true, 4).elements_per_access == 8);
}

CATCH_TEST_CASE("the layouts of networks get the reduction that reads them in order", "[cuda]") {
  const auto reduction = [](const Layout& layout) {
    return cuda::plan_backward(layout, 4, true).reduction;
  };
  CATCH_CHECK(reduction({64, 16, 1024}) == Reduction::Rows);     // contiguous
  CATCH_CHECK(reduction({65536, 16, 1}) == Reduction::Columns);  // channels last
  CATCH_CHECK(reduction({1, 1, 1048576}) == Reduction::Rows);    // shared parameters
  CATCH_CHECK(reduction({64, 2048, 49}) == Reduction::Columns);  // rows of odd length
  CATCH_CHECK(reduction({2, 2048, 49}) == Reduction::Rows);      // the same with a small batch
}

CATCH_TEST_CASE("a small channel is summed by one block, a large one by many", "[cuda]") {
  CATCH_CHECK(cuda::plan_backward({64, 256, 64}, 4, true).splits == 1);
  CATCH_CHECK(cuda::plan_backward({64, 16, 1024}, 4, true).splits == 16);
  CATCH_CHECK(cuda::plan_backward({65536, 16, 1}, 4, true).splits == 256);
  CATCH_CHECK(cuda::plan_backward({1, 1, int64_t{1} << 33}, 4, true).splits ==
              cuda::kBackwardBlocks);
}
