// Backward over several devices: one persistent worker thread a device, fed by every pass that has
// a node for it.
//
// Design. A pass (Pass) owns the GraphTask and a mutex that guards it. A ready node goes to the
// queue of its device's worker, or to the pass's own queue when it has hooks: those may call into
// JavaScript, as those of a checkpoint may, so they run on the thread that called backward(), which is
// waiting anyway. Whoever
// runs a node takes its gradients and delivers its results under the pass's mutex and evaluates the
// formula outside it. `outstanding` counts nodes queued or running; at 0, or at the first error,
// the caller is woken. After an error, nodes of that pass are drained without being run.
//  - Order on the devices: GraphTask's streams, as for one device. Whichever thread delivers a
//    gradient enqueues the edge to its consumer's stream.
//  - Same bits each run: contributions are kept apart and summed in sequence order (GraphTask,
//    several devices).
//  - What breaks it: a formula that waits for another node of the same pass would stop its worker;
//    formulas enqueue and return. The caller's wait is bounded: it then poisons the fabric (a
//    worker is stuck for good) and throws; the pass owns the task, so a late worker still finds it.
#include "autograd/device_engine.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "fabric/event_tags.h"
#include "fabric/fabric.h"

namespace weft {
namespace {

struct Pass;
struct Item {
  std::shared_ptr<Pass> pass;
  GraphTask::State* state;
};

struct Worker {
  std::mutex mutex;              // guards queue and started
  std::condition_variable wake;  // signalled by enqueue()
  std::deque<Item> queue;
  bool started = false;
};

struct Pass : std::enable_shared_from_this<Pass> {
  Pass(GraphTask&& t, const BackwardOptions& o) : task(std::move(t)), options(o) {}
  GraphTask task;
  BackwardOptions options;
  uint32_t tag = fabric::event_log::current_tag();  // the caller's, for what workers log
  std::mutex mutex;                                 // guards all below and the task's states
  std::condition_variable wake;  // signalled on done, error, and a node for the caller
  std::deque<GraphTask::State*> for_caller;
  int outstanding = 0;
  std::exception_ptr error;
};

void run_item(const std::shared_ptr<Pass>& pass, GraphTask::State* state);

void worker_loop(Worker& worker) {
  for (;;) {
    Item item;
    {
      std::unique_lock<std::mutex> lock(worker.mutex);
      // Bounded only by the life of the process: an idle worker has nothing to wait out.
      worker.wake.wait(lock, [&] { return !worker.queue.empty(); });
      item = std::move(worker.queue.front());
      worker.queue.pop_front();
    }
    run_item(item.pass, item.state);
  }
}

Worker& worker_of(uint16_t device) {
  static auto* workers = new std::array<Worker, 256>();  // leaked: threads may outlive main()
  return (*workers)[device % 256];
}

void enqueue(const std::shared_ptr<Pass>& pass, GraphTask::State* state) {
  Worker& worker = worker_of(state->node->device);
  std::lock_guard<std::mutex> lock(worker.mutex);
  if (!worker.started) {
    worker.started = true;
    std::thread([&worker] {
      set_grad_enabled(false);
      worker_loop(worker);
    }).detach();
  }
  worker.queue.push_back({pass, state});
  worker.wake.notify_one();
}

/// Does the node call into JavaScript, or may it?
bool has_hooks(const Node& node) {
  return !node.hooks.empty() || node.checkpoint ||
         (node.leaf && !node.leaf->autograd->leaf_hooks.empty());
}

/// Queues a ready node. Caller holds the pass's mutex.
void schedule(Pass& pass, GraphTask::State* state) {
  ++pass.outstanding;
  if (has_hooks(*state->node)) {
    pass.for_caller.push_back(state);
    pass.wake.notify_all();
  } else {
    enqueue(pass.shared_from_this(), state);
  }
}

void run_item(const std::shared_ptr<Pass>& pass, GraphTask::State* state) {
  fabric::event_log::TagScope tag(pass->tag);
  GraphTask::Results results;
  try {
    GradList grads;
    bool skip;
    {
      std::lock_guard<std::mutex> lock(pass->mutex);
      skip = pass->error != nullptr;
      if (!skip) grads = pass->task.take_gradients(*state);
    }
    if (!skip) {
      results = GraphTask::evaluate(*state, std::move(grads), pass->options.retain_graph);
    }
  } catch (...) {
    std::lock_guard<std::mutex> lock(pass->mutex);
    if (!pass->error) pass->error = std::current_exception();
  }
  std::lock_guard<std::mutex> lock(pass->mutex);
  if (!pass->error) {
    std::vector<GraphTask::State*> ready;
    pass->task.deliver(*state, std::move(results), ready);
    for (auto* next : ready) schedule(*pass, next);
  }
  if (--pass->outstanding == 0) pass->wake.notify_all();
}

}  // namespace

void run_on_devices(GraphTask&& task, const BackwardOptions& options) {
  auto pass = std::make_shared<Pass>(std::move(task), options);
  auto deadline = std::chrono::steady_clock::now() + options.limit;
  std::unique_lock<std::mutex> lock(pass->mutex);
  for (auto* state : pass->task.initially_ready()) schedule(*pass, state);
  while (pass->outstanding > 0) {
    if (!pass->for_caller.empty()) {
      auto* state = pass->for_caller.front();
      pass->for_caller.pop_front();
      lock.unlock();
      run_item(pass, state);
      lock.lock();
      continue;
    }
    if (pass->wake.wait_until(lock, deadline) == std::cv_status::timeout && pass->outstanding > 0) {
      fabric::poison("a backward pass over several devices did not finish enqueueing within " +
                     std::to_string(options.limit.count()) +
                     " ms: " + std::to_string(pass->outstanding) + " nodes were left");
      try {
        fabric::check_poison();
      } catch (...) {
        if (!pass->error) pass->error = std::current_exception();  // what is left is not run
        throw;
      }
    }
  }
  // The nodes and the error end here, not with the last worker.
  const GraphTask done = std::move(pass->task);
  const std::exception_ptr error = std::exchange(pass->error, nullptr);
  lock.unlock();
  if (error) std::rethrow_exception(error);
}

}  // namespace weft
