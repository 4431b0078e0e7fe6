// Calls functions when events have passed: what Driver::notify is made of on CUDA.
//
// Design. notify() records an event and queues it with its function; one thread polls the queue's
// events and calls the functions of those that passed, for each stream in the order of notify(): a
// stream's second event is asked only once the first has passed. Polling (about 1
// µs a query) instead of cudaLaunchHostFunc keeps the stream running and lets functions be called
// after a sticky error too, so that nobody waits for ever: a query that fails with a sticky error
// poisons the fabric and everything queued is called. One that fails otherwise is asked again;
// after kMostFailures such answers it counts as lost, for an event that can never be asked would
// keep its waiters for good.
//  - Who signals: add() wakes the thread when it sleeps; it sleeps only when nothing is queued.
//  - While work is pending the thread spins for kSpin, then naps kNap between rounds: reads stay
//    quick, long waits stay cheap.
//  - What breaks it: a function that blocks delays the others; Driver::notify forbids that.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fabric::cuda {

class CompletionPoller {
 public:
  /// Takes over `event`, recorded on `stream` of `ordinal`; give_back returns it afterwards.
  void add(int ordinal, cudaStream_t stream, cudaEvent_t event, std::function<void()> fn,
           std::function<void(int, cudaEvent_t)> give_back);

 private:
  struct Item {
    int ordinal;
    cudaStream_t stream;
    cudaEvent_t event;
    std::function<void()> fn;
    std::function<void(int, cudaEvent_t)> give_back;
    int failures = 0;  // questions that failed without a sticky error
  };
  void loop();

  std::mutex mutex_;              // guards incoming_ and started_
  std::condition_variable wake_;  // signalled by add()
  std::deque<Item> incoming_;
  bool started_ = false;
};

}  // namespace fabric::cuda
