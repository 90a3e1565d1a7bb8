#include <limits>
#include <random>

#include "../../catch.h"
#include "ops/cuda/divider.h"

using mpelu::cuda::Divider;

namespace {

void check(int64_t dividend, int64_t divisor, int64_t largest) {
  const auto [quotient, remainder] = Divider(divisor, largest).divide(dividend);
  if (quotient != dividend / divisor || remainder != dividend % divisor) {
    CATCH_CAPTURE(dividend, divisor, largest, quotient, remainder);
    CATCH_FAIL("not the quotient and remainder");
  }
}

/// Around every multiple that can go wrong first: near 0, near the largest, and in between.
void check_edges(int64_t divisor, int64_t largest) {
  for (const int64_t multiple :
       {int64_t{0}, int64_t{1}, largest / divisor / 2, largest / divisor}) {
    const int64_t exact = multiple * divisor;
    for (int64_t step = -1; step <= 1; ++step) {
      if (-exact <= step && step <= largest - exact) {
        check(exact + step, divisor, largest);
      }
    }
  }
  check(largest, divisor, largest);
}

constexpr int64_t kLargest[] = {1000, std::numeric_limits<int32_t>::max(),
                                int64_t{std::numeric_limits<int32_t>::max()} + 1,
                                std::numeric_limits<int64_t>::max()};

}  // namespace

CATCH_TEST_CASE("a divider gives the quotient and remainder of 32-bit and 64-bit indices",
                "[cuda]") {
  for (const int64_t largest : kLargest) {
    for (int64_t divisor = 1; divisor <= std::min<int64_t>(largest, 3000); ++divisor) {
      check_edges(divisor, largest);
    }
    for (int bit = 1; bit < 63 && (int64_t{1} << bit) < largest; ++bit) {
      for (int64_t step = -1; step <= 1; ++step) {
        check_edges((int64_t{1} << bit) + step, largest);
      }
    }
    check_edges(largest, largest);

    std::mt19937_64 random(largest);
    std::uniform_int_distribution<int64_t> dividends(0, largest), divisors(1, largest);
    for (int i = 0; i < 100000; ++i) {
      check(dividends(random), divisors(random), largest);
      check(dividends(random), 1 + (divisors(random) >> (i % 62)), largest);
    }
  }
}
