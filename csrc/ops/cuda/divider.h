#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "math/real.h"

namespace mpelu::cuda {

struct Division {
  int64_t quotient;
  int64_t remainder;
};

/// Divides indices by a number that is known only at launch, without a division: Granlund and
/// Montgomery 1994, "Division by invariant integers using multiplication". With b bits, dividends
/// and divisor below 2^(b-1), and s = ceil(log2 d):
///
///   n / d = (floor(n m / 2^b) + n) >> s,  m = floor(2^b (2^s - d) / d) + 1
///
/// b is 32 where the range allows, else 64, which takes several times as many instructions.
class Divider {
 public:
  /// For dividends 0, ..., largest and divisor >= 1.
  Divider(int64_t divisor, int64_t largest)
      : divisor_(divisor), narrow_(largest <= kNarrow && divisor <= kNarrow) {
    const auto d = static_cast<uint64_t>(divisor);
    shift_ = std::bit_width(d - 1);
    const Wide rest = (Wide{1} << shift_) - d;
    magic_ = static_cast<uint64_t>((rest << (narrow_ ? 32 : 64)) / d + 1);
  }

  MPELU_HOST_DEVICE Division divide(int64_t dividend) const {
    if (narrow_) {
      const auto n = static_cast<uint32_t>(dividend);
      const auto high = static_cast<uint32_t>((uint64_t{n} * static_cast<uint32_t>(magic_)) >> 32);
      const uint32_t quotient = (high + n) >> shift_;
      return {quotient, n - quotient * static_cast<uint32_t>(divisor_)};
    }
    const auto n = static_cast<uint64_t>(dividend);
    const auto high = static_cast<uint64_t>((Wide{n} * magic_) >> 64);
    const auto quotient = static_cast<int64_t>((high + n) >> shift_);
    return {quotient, dividend - quotient * divisor_};
  }

  MPELU_HOST_DEVICE int64_t divisor() const { return divisor_; }

 private:
  using Wide = unsigned __int128;
  static constexpr int64_t kNarrow = std::numeric_limits<int32_t>::max();

  int64_t divisor_;
  uint64_t magic_;
  uint32_t shift_;
  bool narrow_;
};

}  // namespace mpelu::cuda
