#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

/// Runs CUDA kernels on the CPU, as they are: include this before the .cuh file.
///
/// The threads of a block take turns as coroutines, each up to its next barrier; blocks and turns
/// are in an order that a seed decides. A result that depends on the order shows a missing barrier
/// or two blocks that touch the same memory.
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

namespace emulation {

struct Index {
  unsigned x = 0;
};

struct Thread {
  enum class State { Ready, Waiting, Done };

  State state = State::Ready;
  ucontext_t context;
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStackBytes);

  static constexpr size_t kStackBytes = 64 * 1024;
};

/// The block that runs. There is only one, in use for all: what costs time are the stacks.
class Block {
 public:
  /// Runs function() in each of the first `size` threads to its end.
  template <typename Function>
  void run(int size, std::mt19937& random, const Function& function);

  /// From within a thread: goes on once all other threads are here too.
  void barrier() { yield(Thread::State::Waiting); }

 private:
  template <typename Function>
  static void enter();

  void yield(Thread::State state) {
    threads_[current_].state = state;
    swapcontext(&threads_[current_].context, &scheduler_);
  }

  /// Whether all threads are done. None may be while another one waits.
  bool done(int size) const {
    const auto count =
        std::count_if(threads_.begin(), threads_.begin() + size,
                      [](const auto& thread) { return thread.state == Thread::State::Done; });
    if (count != 0 && count != size) {
      throw std::logic_error("a thread waits at a barrier that another one never reaches");
    }
    return count == size;
  }

  std::vector<Thread> threads_;
  ucontext_t scheduler_;
  const void* function_ = nullptr;
  int current_ = 0;
};

inline Block block;

}  // namespace emulation

inline emulation::Index threadIdx, blockIdx, blockDim;

inline void __syncthreads() { emulation::block.barrier(); }

namespace emulation {

template <typename Function>
void Block::enter() {
  (*static_cast<const Function*>(block.function_))();
  block.yield(Thread::State::Done);
}

template <typename Function>
void Block::run(int size, std::mt19937& random, const Function& function) {
  threads_.resize(std::max<size_t>(threads_.size(), size));
  function_ = &function;
  for (int i = 0; i < size; ++i) {
    Thread& thread = threads_[i];
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = Thread::kStackBytes;
    makecontext(&thread.context, &Block::enter<Function>, 0);
  }
  std::vector<int> order(size);
  std::iota(order.begin(), order.end(), 0);
  do {
    std::shuffle(order.begin(), order.end(), random);
    for (const int index : order) {
      current_ = index;
      threadIdx.x = static_cast<unsigned>(index);
      swapcontext(&scheduler_, &threads_[index].context);
    }
  } while (!done(size));
}

/// Stands in for mpelu::cuda::Launch.
struct Launch {
  std::mt19937 random;
  int count = 0;

  explicit Launch(unsigned seed) : random(seed) {}

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads,
                  const Arguments&... arguments) {
    if (blocks == 0) {
      return;
    }
    ++count;
    std::vector<unsigned> order(blocks);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    blockDim.x = static_cast<unsigned>(threads);
    for (const unsigned index : order) {
      blockIdx.x = index;
      block.run(threads, random, [&] { kernel(arguments...); });
    }
  }
};

}  // namespace emulation
