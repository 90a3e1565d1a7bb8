#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

/// Elements of T, at first NaN, at an address that is `offset` elements past a multiple of 16
/// bytes. What touches memory behind them ends the program; what writes to memory before them, or
/// to the few bytes up to the end of the page, shows in intact().
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size, int64_t offset = 0) : size_(size) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = size * sizeof(T);
    const size_t length = (bytes + kSlack + page - 1) / page * page;
    void* const memory =
        mmap(nullptr, length + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::bad_alloc();
    }
    memory_ = {static_cast<unsigned char*>(memory), Unmap{length + page}};
    mprotect(memory_.get() + length, page, PROT_NONE);
    std::memset(memory_.get(), kNaN, length);
    const size_t shift = offset * sizeof(T) % 16;
    first_ = memory_.get() + (length - bytes - shift) / 16 * 16 + shift;
    end_ = memory_.get() + length;
  }

  T* data() { return reinterpret_cast<T*>(first_); }
  const T* data() const { return reinterpret_cast<const T*>(first_); }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }

  bool intact() const {
    const unsigned char* const begin = memory_.get();
    const unsigned char* const first = first_;
    const auto untouched = [](unsigned char byte) { return byte == kNaN; };
    return std::all_of(begin, first, untouched) &&
           std::all_of(first + size_ * sizeof(T), end_, untouched);
  }

  bool same_bits(const Buffer& other) const {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_ * sizeof(T)) == 0;
  }

 private:
  struct Unmap {
    size_t length;
    void operator()(unsigned char* memory) const { munmap(memory, length); }
  };

  // NaN in every floating point format, from its first byte to its last.
  static constexpr unsigned char kNaN = 0xff;
  static constexpr size_t kSlack = 256;

  std::unique_ptr<unsigned char, Unmap> memory_{nullptr, Unmap{0}};
  const unsigned char* end_;
  unsigned char* first_;
  int64_t size_;
};
