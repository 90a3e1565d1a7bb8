#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

/// Elements of T at an address that is `offset` elements past a multiple of 16 bytes, between
/// guards of NaN, as they are themselves at first: what is read outside spoils the result, what is
/// written outside shows in intact().
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size, int64_t offset = 0)
      : bytes_(static_cast<size_t>((size + offset) * sizeof(T)) + 2 * kGuard), size_(size) {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    first_ = (address + kGuard) / 16 * 16 - address + offset * sizeof(T);
    std::fill_n(reinterpret_cast<T*>(bytes_.data() + first_ % sizeof(T)),
                (bytes_.size() - first_ % sizeof(T)) / sizeof(T),
                static_cast<T>(std::numeric_limits<float>::quiet_NaN()));
    fresh_ = bytes_;
  }

  T* data() { return reinterpret_cast<T*>(bytes_.data() + first_); }
  const T* data() const { return reinterpret_cast<const T*>(bytes_.data() + first_); }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }

  bool intact() const {
    const size_t last = first_ + size_ * sizeof(T);
    return std::equal(bytes_.begin(), bytes_.begin() + first_, fresh_.begin()) &&
           std::equal(bytes_.begin() + last, bytes_.end(), fresh_.begin() + last);
  }

  bool same_bits(const Buffer& other) const {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_ * sizeof(T)) == 0;
  }

 private:
  static constexpr size_t kGuard = 256;

  std::vector<unsigned char> bytes_;
  std::vector<unsigned char> fresh_;
  int64_t size_;
  size_t first_;
};
