#pragma once

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "ops/cpu/kernels/partition.h"

// What a tile has for each of its columns. A number of one column and the same number of the next
// lie side by side, so that a vector of elements finds its own in vectors, whatever the channels'
// borders are.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// What the last pack of a row reads past its columns.
constexpr int64_t kColumnsBeyond = 64;
/// From one number of a column to its next, which is to be in another line of the cache.
template <typename T>
constexpr int64_t kColumnStride = wide_tile_columns(sizeof(T)) + kColumnsBeyond;

/// The parameters of the columns.
template <typename Lane>
class ColumnLanes {
  using T = typename Lane::Scalar;
  using V = typename Lane::V;

 public:
  /// Of rows whose channel c, of `inner` columns, has lanes[c % lanes.size()].
  ColumnLanes(const std::vector<Lane>& lanes, int64_t inner) : lanes_(lanes), inner_(inner) {}

  /// Of a tile of so many channels from `first` on: at(i) has those of the vector at column i.
  auto from(int64_t first, int64_t channels) {
    if (first != first_ || channels != channels_) {
      set(first, channels);
    }
    return [numbers = numbers_.data()](int64_t i) MPELU_ALWAYS_INLINE {
      std::array<V, kFields<Lane>> fields;
      for (size_t number = 0; number < fields.size(); ++number) {
        fields[number] = V::loadu(numbers + number * kColumnStride<T> + i);
      }
      return Lane::channel(fields);
    };
  }

 private:
  void set(int64_t first, int64_t channels) {
    first_ = first;
    channels_ = channels;
    const int64_t columns = channels * inner_;
    const auto circle = static_cast<int64_t>(lanes_.size());
    const int64_t period = std::min(channels, circle) * inner_;
    auto lane = lanes_.begin() + first % circle;
    for (int64_t column = 0; column < period; column += inner_) {
      write(lane->fields(), column, inner_);
      if (++lane == lanes_.end()) {
        lane = lanes_.begin();
      }
    }
    repeat(period, columns);
    write({}, columns, kColumnsBeyond);
  }

  /// Fills the columns from the period-th on with those before, over and over again.
  void repeat(int64_t period, int64_t columns) {
    for (size_t number = 0; number < kFields<Lane>; ++number) {
      T* const numbers = numbers_.data() + number * kColumnStride<T>;
      for (int64_t done = period; done < columns; done *= 2) {
        std::copy_n(numbers, std::min(done, columns - done), numbers + done);
      }
    }
  }

  /// In whole vectors: what is too much, the next columns overwrite.
  void write(const std::array<T, kFields<Lane>>& fields, int64_t column, int64_t count) {
    for (size_t number = 0; number < fields.size(); ++number) {
      const V vector(fields[number]);
      for (int64_t i = 0; i < count; i += V::size()) {
        vector.store(numbers_.data() + number * kColumnStride<T> + column + i);
      }
    }
  }

  const std::vector<Lane>& lanes_;
  int64_t inner_;
  int64_t first_ = -1;
  int64_t channels_ = 0;
  alignas(V) std::array<T, kFields<Lane> * kColumnStride<T>> numbers_;
};

/// K sums that an element adds to, or a vector of them.
template <typename T, size_t K>
using SumArray = std::array<T, K>;

/// The sum of so many numbers, one half of them added to the other: few steps, of vectors.
template <size_t Count, typename T>
double sum_by_halves(const std::array<T, Count>& numbers) {
  if constexpr (Count == 1) {
    return static_cast<double>(numbers[0]);
  } else {
    std::array<double, Count / 2> sums;
    for (size_t i = 0; i < Count / 2; ++i) {
      sums[i] = static_cast<double>(numbers[i]) + static_cast<double>(numbers[i + Count / 2]);
    }
    return sum_by_halves(sums);
  }
}

/// The sum of count numbers in double precision, in several sums side by side: one alone would wait
/// for itself. The fewer than those that are left are not worth a conversion each.
template <typename T>
double sum_of(const T* numbers, int64_t count) {
  constexpr int64_t kSums = 8;
  const int64_t whole = count / kSums * kSums;
  const auto rest = static_cast<double>(std::accumulate(numbers + whole, numbers + count, T(0)));
  if (whole == 0) {
    return rest;
  }
  std::array<double, kSums> sums{};
  for (int64_t i = 0; i < whole; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) {
      sums[j] += static_cast<double>(numbers[i + j]);
    }
  }
  return sum_by_halves(sums) + rest;
}

/// Sums of the columns' elements.
template <typename T, size_t K>
class ColumnSums {
  using V = at::vec::Vectorized<T>;

 public:
  void clear(int64_t columns) {
    for (size_t k = 0; k < K; ++k) {
      std::fill_n(sums_.data() + k * kColumnStride<T>, columns + kColumnsBeyond, T(0));
    }
  }

  /// add(i, term) calls term(sums) for those of the vector at column i.
  auto adder() {
    return [data = sums_.data()](int64_t i, const auto& term) MPELU_ALWAYS_INLINE {
      SumArray<V, K> sums;
      for (size_t k = 0; k < K; ++k) {
        sums[k] = V::loadu(data + k * kColumnStride<T> + i);
      }
      term(sums);
      for (size_t k = 0; k < K; ++k) {
        sums[k].store(data + k * kColumnStride<T> + i);
      }
    };
  }

  /// Adds the sums of every channel's `inner` columns to totals: [K][channels].
  void add_to(double* totals, int64_t channels, int64_t inner) const {
    for (size_t k = 0; k < K; ++k) {
      const T* const sums = sums_.data() + k * kColumnStride<T>;
      double* const of_channels = totals + k * channels;
      if (inner == 1) {
        for (int64_t c = 0; c < channels; ++c) {
          of_channels[c] += static_cast<double>(sums[c]);
        }
      } else {
        for (int64_t c = 0; c < channels; ++c) {
          of_channels[c] += sum_of(sums + c * inner, inner);
        }
      }
    }
  }

 private:
  alignas(V) std::array<T, K * kColumnStride<T>> sums_;
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
