#pragma once

#include <algorithm>

#include "math/mpelu.h"
#include "ops/cpu/kernels/pack.h"

// The innermost loops: a run of elements that lie side by side in memory.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// A parameter that is the same along a span.
template <typename T>
struct Uniform {
  at::vec::Vectorized<T> value;
  at::vec::Vectorized<T> operator()(int64_t /*i*/) const { return value; }
};

/// A parameter with a value for each element of a span; readable up to a whole pack past its end.
template <typename T>
struct Varying {
  const T* data;
  at::vec::Vectorized<T> operator()(int64_t i) const {
    return at::vec::Vectorized<T>::loadu(data + i);
  }
};

/// No sums: the gradient of the input alone.
struct NoSums {
  template <typename V>
  void add(int64_t /*i*/, const V& /*alpha*/, const V& /*beta*/) {}
};

/// The sums of a span, lane by lane.
template <typename T>
struct SpanSums {
  using V = at::vec::Vectorized<T>;
  V alpha = V(T(0));
  V beta = V(T(0));

  void add(int64_t /*i*/, const V& to_alpha, const V& to_beta) {
    alpha = alpha + to_alpha;
    beta = beta + to_beta;
  }
};

/// A sum for each element of the span, over many spans; whole packs, as with Varying.
template <typename T>
struct ColumnSums {
  using V = at::vec::Vectorized<T>;
  T* alpha;
  T* beta;

  void add(int64_t i, const V& to_alpha, const V& to_beta) {
    (V::loadu(alpha + i) + to_alpha).store(alpha + i);
    (V::loadu(beta + i) + to_beta).store(beta + i);
  }
};

/// f over count elements.
template <typename scalar_t, typename ParameterAt>
void forward_span(scalar_t* output, const scalar_t* input, int64_t count, const ParameterAt& alpha,
                  const ParameterAt& beta) {
  using P = Pack<scalar_t>;
  const auto step = [&](int64_t i, int64_t size) {
    P x = P::load(input + i, size);
    for (int v = 0; v < P::kVectors; ++v) {
      const int64_t at = i + v * P::V::size();
      x.vectors[v] = math::forward(x.vectors[v], alpha(at), beta(at));
    }
    x.store(output + i, size);
  };
  int64_t i = 0;
  for (; i + P::kSize <= count; i += P::kSize) {
    step(i, P::kSize);
  }
  if (i < count) {
    step(i, count - i);
  }
}

// How far ahead the backward asks for its two input streams: without it, their loads wait for the
// memory; a page ahead is past what the hardware fetches by itself.
constexpr int64_t kPrefetchBytes = 4096;

/// The gradients over count elements: gradient(g, x, i) gives a math::Gradient for the vector at i.
template <typename scalar_t, typename GradientAt, typename Sums>
void backward_span(scalar_t* grad_input, const scalar_t* grad_output, const scalar_t* input,
                   int64_t count, const GradientAt& gradient, Sums& sums) {
  using P = Pack<scalar_t>;
  using V = typename P::V;
  const auto step = [&](int64_t i, int64_t size) {
    const P x = P::load(input + i, size);
    const P g = P::load(grad_output + i, size);
    P grad;
    for (int v = 0; v < P::kVectors; ++v) {
      const int64_t at = i + v * V::size();
      const auto parts = gradient(g.vectors[v], x.vectors[v], at);
      grad.vectors[v] = parts.input;
      const int64_t lanes = std::clamp<int64_t>(size - v * V::size(), 0, V::size());
      if (lanes == V::size()) {
        sums.add(at, parts.alpha, parts.beta);
      } else {
        // The lanes past the end hold zeros, which an infinite parameter would turn into NaN.
        const V zero(typename P::T(0));
        sums.add(at, V::set(zero, parts.alpha, lanes), V::set(zero, parts.beta, lanes));
      }
    }
    grad.store(grad_input + i, size);
  };
  constexpr int64_t kAhead = kPrefetchBytes / sizeof(scalar_t);
  int64_t i = 0;
  for (; i + P::kSize <= count; i += P::kSize) {
    __builtin_prefetch(input + i + kAhead);
    __builtin_prefetch(grad_output + i + kAhead);
    step(i, P::kSize);
  }
  if (i < count) {
    step(i, count - i);
  }
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
