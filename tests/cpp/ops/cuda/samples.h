#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <limits>
#include <random>

#include "buffer.h"
#include "ops/layout.h"

/// What the tests of all kernels share.
namespace emulation {

/// Calls function<scalar_t, param_t>() for the dtypes of a tensor and its parameters.
template <typename Function>
void for_each_dtype(const Function& function) {
  function.template operator()<double, double>();
  function.template operator()<float, float>();
  function.template operator()<c10::Half, c10::Half>();
  function.template operator()<c10::Half, float>();
  function.template operator()<c10::BFloat16, c10::BFloat16>();
  function.template operator()<c10::BFloat16, float>();
}

template <typename T>
Buffer<T> random_buffer(int64_t size, int64_t offset, double low, double high,
                        std::mt19937& random) {
  std::uniform_real_distribution<double> distribution(low, high);
  Buffer<T> buffer(size, offset);
  for (int64_t i = 0; i < size; ++i) {
    buffer[i] = static_cast<T>(distribution(random));
  }
  return buffer;
}

template <typename T>
double epsilon() {
  return static_cast<double>(std::numeric_limits<T>::epsilon());
}

template <typename T>
bool is_close(T actual, double expected, double error) {
  const auto smallest = static_cast<double>(std::numeric_limits<T>::denorm_min());
  return std::abs(static_cast<double>(actual) - expected) <=
         error + epsilon<T>() * std::abs(expected) + smallest;
}

using mpelu::Layout;

/// Shapes that take several blocks: rows and columns, in one split and in many, aligned and odd.
constexpr Layout kLargeLayouts[] = {{1, 1, 20001}, {1, 1, 40000}, {3, 2, 12000}, {10, 3, 1023},
                                    {40, 8, 49},   {33, 8, 196},  {9000, 3, 1},  {2048, 16, 1},
                                    {300, 40, 4},  {200, 260, 1}, {1, 300, 7},   {2, 60, 33}};

/// Shapes of which a thread of an elementwise kernel takes several accesses: by elements and by
/// columns of several channels, more than kFewBlocks blocks of them, and by columns of one channel,
/// two rounds of kElementwiseBlocks.
constexpr Layout kHugeLayouts[] = {{9, 7, 70000}, {1063, 4136, 1}, {67, 61, 4112}};

}  // namespace emulation
