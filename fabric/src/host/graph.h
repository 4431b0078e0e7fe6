// Capture and replay of work on the host driver: a list of (queue, function) entries with the
// records and waits between them. Called by the driver and by captured kernels
// (fabric/host_queue.h).
//
// Design. A capture starts on one queue. Another queue joins when it waits for an event that was
// recorded in the capture, and must be joined back into the first queue, as on a GPU: each queue
// carries, for every queue, the number of the last entry that it is ordered after, and
// end_capture() compares. Replay enqueues the entries in their order, with the first queue replaced
// by the launching stream. Events become the graph's own signals, so a replay orders nothing
// outside. Launches of one graph are serialised: the launching stream first waits for the end of
// the launch before.
//  - What breaks it: memory that captured closures point to must stay allocated as long as the
//    graph (the allocator's private pools).
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "host/signal.h"

namespace fabric::host {

class Queue;

struct GraphEntry {
  enum class Kind : uint8_t { kTask, kRecord, kWait };
  Kind kind = Kind::kTask;
  int queue = 0;   ///< index in the graph's queues; 0 is the launching stream
  int signal = 0;  ///< of records and waits
  std::function<void()> task;
};

class HostGraph : public std::enable_shared_from_this<HostGraph> {
 public:
  HostGraph(std::vector<std::shared_ptr<Queue>> queues, std::vector<GraphEntry> entries,
            int signals);
  void launch(Queue& stream);

 private:
  std::vector<std::shared_ptr<Queue>> queues_;
  std::vector<GraphEntry> entries_;
  std::vector<SignalRef> signals_;
  std::mutex mutex_;  // one launch at a time enqueues
  SignalRef finished_;
};

class HostCapture {
 public:
  explicit HostCapture(std::shared_ptr<Queue> origin);

  void add_task(Queue& queue, std::function<void()> task);
  /// Returns the number of the record, which later waits name.
  int add_record(Queue& queue);
  /// `queue` joins the capture when it was not in it.
  void add_wait(const std::shared_ptr<Queue>& queue, int record);
  bool ended() const;
  bool starts_at(const Queue& queue) const;
  /// Ends it. Throws UsageError when a queue was not joined back, or when entries are lost.
  std::shared_ptr<HostGraph> finish();

 private:
  // Entry number + 1 of the last entry of each queue (by index) that is ordered before.
  using Seen = std::vector<size_t>;

  int index_of(const Queue& queue) const;  // -1 when it has not joined
  void see(Seen& into, const Seen& from) const;
  void push(int queue, GraphEntry entry);

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Queue>> queues_;
  std::vector<Seen> seen_;      // by queue
  std::vector<Seen> recorded_;  // by record
  std::vector<size_t> last_;    // by queue: its last entry's number + 1
  std::vector<GraphEntry> entries_;
  bool ended_ = false;
};

}  // namespace fabric::host
