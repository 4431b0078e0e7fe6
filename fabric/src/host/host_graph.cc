// Graphs of the host driver: see host/graph.h for the design.
#include "fabric/error.h"
#include "fabric/host_queue.h"
#include "host/graph.h"
#include "host/queue.h"

namespace fabric::host {

HostCapture::HostCapture(std::shared_ptr<Queue> origin) {
  queues_.push_back(std::move(origin));
  seen_.emplace_back();
  last_.push_back(0);
}

int HostCapture::index_of(const Queue& queue) const {
  for (size_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].get() == &queue) return static_cast<int>(i);
  }
  return -1;
}

void HostCapture::see(Seen& into, const Seen& from) const {
  if (into.size() < from.size()) into.resize(from.size(), 0);
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

void HostCapture::push(int queue, GraphEntry entry) {
  if (ended_) fail(ErrorCode::kUsage, "the stream's capture has ended; nothing can be added to it");
  if (queue < 0) fail(ErrorCode::kUsage, "the stream is not part of this capture");
  entry.queue = queue;
  entries_.push_back(std::move(entry));
  const auto at = static_cast<size_t>(queue);
  last_[at] = entries_.size();
  if (seen_[at].size() <= at) seen_[at].resize(at + 1, 0);
  seen_[at][at] = entries_.size();
}

void HostCapture::add_task(Queue& queue, std::function<void()> task) {
  std::lock_guard lock(mutex_);
  push(index_of(queue), {.kind = GraphEntry::Kind::kTask, .task = std::move(task)});
}

int HostCapture::add_record(Queue& queue) {
  std::lock_guard lock(mutex_);
  const int index = index_of(queue);
  const int record = static_cast<int>(recorded_.size());
  push(index, {.kind = GraphEntry::Kind::kRecord, .signal = record, .task = {}});
  recorded_.push_back(seen_[static_cast<size_t>(index)]);
  return record;
}

void HostCapture::add_wait(const std::shared_ptr<Queue>& queue, int record) {
  std::lock_guard lock(mutex_);
  int index = index_of(*queue);
  if (index < 0) {
    index = static_cast<int>(queues_.size());
    queues_.push_back(queue);
    seen_.emplace_back();
    last_.push_back(0);
  }
  see(seen_[static_cast<size_t>(index)], recorded_[static_cast<size_t>(record)]);
  push(index, {.kind = GraphEntry::Kind::kWait, .signal = record, .task = {}});
}

bool HostCapture::ended() const {
  std::lock_guard lock(mutex_);
  return ended_;
}

bool HostCapture::starts_at(const Queue& queue) const {
  std::lock_guard lock(mutex_);
  return queues_[0].get() == &queue;
}

std::shared_ptr<HostGraph> HostCapture::finish() {
  std::lock_guard lock(mutex_);
  ended_ = true;
  for (const auto& queue : queues_) queue->set_capture(nullptr);
  const Seen& origin = seen_[0];
  for (size_t i = 1; i < queues_.size(); ++i) {
    if (i >= origin.size() || origin[i] < last_[i]) {
      fail(ErrorCode::kUsage,
           "the capture forked to a stream of host:%d that was not joined back: record an event "
           "there "
           "and let the captured stream wait for it",
           queues_[i]->ordinal());
    }
  }
  return std::make_shared<HostGraph>(queues_, std::move(entries_),
                                     static_cast<int>(recorded_.size()));
}

HostGraph::HostGraph(std::vector<std::shared_ptr<Queue>> queues, std::vector<GraphEntry> entries,
                     int signals)
    : queues_(std::move(queues)), entries_(std::move(entries)), finished_(SignalRef::make(false)) {
  for (int i = 0; i < signals; ++i) signals_.push_back(SignalRef::make(false));
}

void HostGraph::launch(Queue& stream) {
  if (stream.capturing()) {
    fail(ErrorCode::kUsage, "a graph cannot be launched on a stream that is being captured");
  }
  std::lock_guard lock(mutex_);
  enqueue_wait(stream, finished_.get(), finished_->latest());
  for (const GraphEntry& entry : entries_) {
    Queue& queue = entry.queue == 0 ? stream : *queues_[static_cast<size_t>(entry.queue)];
    switch (entry.kind) {
      case GraphEntry::Kind::kTask:
        // The graph stays alive by the reference, so the entry's address does too.
        enqueue(static_cast<StreamHandle>(&queue),
                [keep = shared_from_this(), task = &entry.task] { (*task)(); });
        break;
      case GraphEntry::Kind::kRecord:
        enqueue_record(queue, signals_[static_cast<size_t>(entry.signal)].get());
        break;
      case GraphEntry::Kind::kWait: {
        Signal* signal = signals_[static_cast<size_t>(entry.signal)].get();
        enqueue_wait(queue, signal, signal->latest());
        break;
      }
    }
  }
  enqueue_record(stream, finished_.get());
}

}  // namespace fabric::host
