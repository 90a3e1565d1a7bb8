#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <ranges>
#include <stdexcept>
#include <vector>

/// Runs CUDA kernels on the CPU, as they are: include this before the .cuh file.
///
/// The threads of a block take turns as coroutines, each up to its next barrier; blocks and turns
/// are in an order that a seed decides. A result that depends on the order shows a missing barrier
/// or two blocks that touch the same memory. Where the first thread of a block meets no barrier,
/// the others need no coroutines and are called one after another.
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

namespace emulation {

struct Index {
  unsigned x = 0;
};

}  // namespace emulation

inline emulation::Index threadIdx, blockIdx, blockDim;

namespace emulation {

/// Where a coroutine goes on. A context is entered by setcontext() once, and left and entered again
/// by the compiler's own jumps, since swapcontext() asks the kernel for the signal mask each time.
using Jump = void* [5];

struct Thread {
  enum class State { New, Waiting, Done };

  Thread() {
    getcontext(&context);
    context.uc_stack.ss_sp = stack.get();
    context.uc_stack.ss_size = kStackBytes;
  }

  static constexpr size_t kStackBytes = 64 * 1024;

  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  ucontext_t context;
  Jump jump;
  State state = State::New;
};

/// The block that runs. There is only one, in use for all: what costs time are the stacks.
class Block {
 public:
  /// Runs function() in each of the first `size` threads to its end.
  template <typename Function>
  void run(int size, std::mt19937& random, const Function& function);

  /// From within a thread: goes on once all other threads are here too.
  void barrier() {
    if (!in_turns_) {
      throw std::logic_error(kLostThread);
    }
    yield(Thread::State::Waiting);
  }

 private:
  static constexpr auto kLostThread = "a thread waits at a barrier that another one never reaches";

  template <typename Function>
  static void enter();

  /// Runs the threads order_[begin], ..., order_[end - 1], each up to its next barrier.
  template <typename Function>
  void start(size_t begin, size_t end);
  [[gnu::noinline]] void resume(size_t begin, size_t end) {
    turn_ = begin;
    end_ = end;
    if (__builtin_setjmp(scheduler_) == 0) {
      enter_next();
    }
  }

  /// Leaves the turn to the next thread, until this one's comes again.
  [[gnu::noinline]] void yield(Thread::State state) {
    Thread& thread = threads_[order_[turn_++]];
    thread.state = state;
    if (__builtin_setjmp(thread.jump) == 0) {
      enter_next();
    }
  }

  /// Goes on with the thread whose turn is next, or after all of them with resume().
  [[noreturn, gnu::noinline]] void enter_next() {
    if (turn_ == end_) {
      __builtin_longjmp(scheduler_, 1);
    }
    Thread& thread = threads_[order_[turn_]];
    threadIdx.x = static_cast<unsigned>(order_[turn_]);
    if (thread.state == Thread::State::New) {
      setcontext(&thread.context);
    }
    __builtin_longjmp(thread.jump, 1);
  }

  /// Whether all threads are done. None may be while another one waits.
  bool done() const {
    const auto count = std::count_if(order_.begin(), order_.end(), [this](int index) {
      return threads_[index].state == Thread::State::Done;
    });
    if (count != 0 && count != static_cast<int64_t>(order_.size())) {
      throw std::logic_error(kLostThread);
    }
    return count != 0;
  }

  std::deque<Thread> threads_;  // a context must stay where it is
  Jump scheduler_;
  const void* function_ = nullptr;
  std::vector<int> order_;
  size_t turn_ = 0;
  size_t end_ = 0;
  bool in_turns_ = true;
};

inline Block block;

}  // namespace emulation

inline void __syncthreads() { emulation::block.barrier(); }

/// What the warp's other threads have to say is for the block to decide: in every second one, yes.
inline bool __any_sync(unsigned /*mask*/, bool mine) { return mine || blockIdx.x % 2 == 1; }

namespace emulation {

template <typename Function>
void Block::enter() {
  (*static_cast<const Function*>(block.function_))();
  block.yield(Thread::State::Done);
}

template <typename Function>
void Block::start(size_t begin, size_t end) {
  for (size_t turn = begin; turn < end; ++turn) {
    Thread& thread = threads_[order_[turn]];
    thread.state = Thread::State::New;
    makecontext(&thread.context, &Block::enter<Function>, 0);
  }
  resume(begin, end);
}

template <typename Function>
void Block::run(int size, std::mt19937& random, const Function& function) {
  if (threads_.size() < static_cast<size_t>(size)) {
    threads_.resize(size);
  }
  function_ = &function;
  order_.resize(size);
  std::iota(order_.begin(), order_.end(), 0);
  std::shuffle(order_.begin(), order_.end(), random);

  in_turns_ = true;
  start<Function>(0, 1);
  if (threads_[order_.front()].state == Thread::State::Done) {
    in_turns_ = false;
    for (const int index : order_ | std::views::drop(1)) {
      threadIdx.x = static_cast<unsigned>(index);
      function();
    }
    return;
  }
  start<Function>(1, order_.size());
  while (!done()) {
    std::shuffle(order_.begin(), order_.end(), random);
    resume(0, order_.size());
  }
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
