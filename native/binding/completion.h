// How other threads finish promises of an environment: one threadsafe function an environment and a
// queue of tasks in front of it.
//
// Design. post() appends a task under the mutex and wakes the event loop only when the queue was
// empty, so a burst of completions costs one wake-up. The loop runs all queued tasks at once. While
// promises are pending the function keeps the event loop alive; otherwise it does not.
//  - Who signals: driver threads (notify, on_done). Who runs tasks: the environment's thread.
//  - End: the cleanup hook calls close(): later posts return false and their tasks are dropped on
//    the posting thread, so a task must own what it frees. Nothing waits for device work at
//    teardown.
//  - What breaks it: a task that throws; drain() reports that as an uncaught exception.
#pragma once

#include <node_api.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "binding/environment.h"
#include "fabric/error.h"

namespace weft::binding {

class CompletionQueue {
 public:
  using Task = std::function<void(Environment&)>;

  explicit CompletionQueue(Environment& state);

  /// Makes a promise and calls `begin` with what settles it, inside one task posted with settles =
  /// true. When `begin` throws an Error the promise is rejected with it.
  napi_value promise(const std::function<void(napi_deferred)>& begin);
  /// Queues `task` from any thread; false (and dropped) when the environment has ended.
  bool post(Task task, bool settles);
  /// Has the environment ended?
  bool closed();
  /// From the cleanup hook, on the environment's thread.
  void close();

 private:
  static void on_wake(napi_env env, napi_value function, void* context, void* data);
  void drain();

  Environment* state_;
  napi_threadsafe_function function_ = nullptr;
  size_t pending_ = 0;  // promises not settled; environment's thread only
  std::mutex mutex_;    // guards the rest
  std::vector<std::pair<Task, bool>> queue_;
  bool closed_ = false;
};

/// Settle a promise, inside a task.
void resolve(Environment& state, napi_deferred deferred, napi_value value);
void reject(Environment& state, napi_deferred deferred, const Error& error);
/// Runs `body` and rejects with the error it throws; `body` resolves.
void settle(Environment& state, napi_deferred deferred, const std::function<void()>& body);
napi_value undefined(napi_env env);

}  // namespace weft::binding
