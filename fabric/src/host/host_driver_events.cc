// The host driver's events and graphs: what becomes a ticket, and what becomes part of a capture.
// record() and the queries throw once the fabric is poisoned, as they do on a lost CUDA context.
#include "fabric/error.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"
#include "fabric/host_queue.h"
#include "host/fault_state.h"
#include "host/host_driver.h"
#include "host/signal.h"
#include "host/wait_clock.h"

namespace fabric::host {
namespace {

[[noreturn]] void fail_captured(const char* what) {
  fail(ErrorCode::kUsage,
       "%s refers to an event whose latest record belongs to a graph capture; record it again "
       "outside",
       what);
}

bool is_captured(const Signal& signal) {
  int index = 0;
  return signal.captured(&index) != nullptr;
}

}  // namespace

EventHandle HostDriver::create_event(int ordinal, bool timing) { return new Signal(timing); }

void HostDriver::destroy_event(EventHandle event) {
  if (event != nullptr) static_cast<Signal*>(event)->release();
}

void HostDriver::record(EventHandle event, StreamHandle stream) {
  check_poison();
  auto* signal = static_cast<Signal*>(event);
  auto* queue = static_cast<Queue*>(stream);
  if (queue->capturing()) [[unlikely]] {
    if (auto capture = queue->capture()) {
      const int record = capture->add_record(*queue);
      signal->set_captured(std::move(capture), record);
      return;
    }
  }
  enqueue_record(*queue, signal);
}

void HostDriver::wait(StreamHandle stream, EventHandle event) {
  auto* signal = static_cast<Signal*>(event);
  auto* queue = static_cast<Queue*>(stream);
  int record = 0;
  if (auto capture = signal->captured(&record)) [[unlikely]] {
    if (capture->ended()) fail_captured("a stream's wait");
    auto current = queue->capture();
    if (current != nullptr && current != capture) {
      fail(ErrorCode::kUsage, "two captures cannot wait for each other");
    }
    capture->add_wait(queue->shared_from_this(), record);
    if (current == nullptr) queue->set_capture(std::move(capture));
    return;
  }
  if (leaves_out_wait()) [[unlikely]]
    return;
  const Signal::Point point = signal->latest();
  if (queue->capturing()) [[unlikely]] {
    if (point.lane == nullptr) return;
    fail(
        ErrorCode::kUsage,
        "host:%d: a captured stream cannot wait for an event that was recorded outside the capture",
        queue->ordinal());
  }
  enqueue_wait(*queue, signal, point);
}

bool HostDriver::query_event(EventHandle event) {
  check_poison();
  auto* signal = static_cast<Signal*>(event);
  if (is_captured(*signal)) fail_captured("a query");
  return Signal::passed(signal->latest());
}

bool HostDriver::synchronize_event(EventHandle event, int64_t timeout_ms) {
  auto* signal = static_cast<Signal*>(event);
  if (is_captured(*signal)) fail_captured("synchronize");
  return signal->wait_until(signal->latest(), deadline_in_ms(timeout_ms));
}

double HostDriver::elapsed_ms(EventHandle start, EventHandle stop) {
  auto* from = static_cast<Signal*>(start);
  auto* to = static_cast<Signal*>(stop);
  if (!from->timing() || !to->timing()) {
    fail(ErrorCode::kUsage, "elapsed time needs two events made with timing");
  }
  if (!query_event(start) || !query_event(stop) || from->stamp_ns() == 0 || to->stamp_ns() == 0) {
    fail(ErrorCode::kUsage, "elapsed time needs two events that were recorded and have completed");
  }
  return static_cast<double>(to->stamp_ns() - from->stamp_ns()) * 1e-6;
}

void HostDriver::stamp(int, StreamHandle stream, RecordHandle record, uint64_t host_ns) {
  auto* queue = static_cast<Queue*>(stream);
  if (queue->capturing()) return;  // the record's work runs at replay, not now
  try {
    queue->push(
        [record, host_ns] { event_log::set_device_time(record, host_ns, event_log::now_ns()); });
  } catch (const Error&) {  // the stream was closed meanwhile: no time
  }
}

void HostDriver::begin_capture(StreamHandle stream) {
  auto* queue = static_cast<Queue*>(stream);
  if (queue->capturing()) {
    fail(ErrorCode::kUsage, "host:%d: the stream is already being captured", queue->ordinal());
  }
  queue->set_capture(std::make_shared<HostCapture>(queue->shared_from_this()));
}

bool HostDriver::is_capturing(StreamHandle stream) {
  return static_cast<Queue*>(stream)->capturing();
}

GraphHandle HostDriver::end_capture(StreamHandle stream) {
  auto* queue = static_cast<Queue*>(stream);
  auto capture = queue->capture();
  if (capture == nullptr || !capture->starts_at(*queue)) {
    fail(ErrorCode::kUsage, "host:%d: no capture was begun on this stream", queue->ordinal());
  }
  auto graph = capture->finish();
  std::lock_guard lock(mutex_);
  HostGraph* handle = graph.get();
  graphs_.emplace(handle, std::move(graph));
  return handle;
}

void HostDriver::abandon_capture(StreamHandle stream) noexcept {
  auto* queue = static_cast<Queue*>(stream);
  auto capture = queue->capture();
  if (capture == nullptr || !capture->starts_at(*queue)) return;
  try {
    capture->finish();
  } catch (const Error&) {  // a fork that was not joined: its streams have left the capture too
  }
}

void HostDriver::launch_graph(GraphHandle graph, StreamHandle stream) {
  static_cast<HostGraph*>(graph)->launch(*static_cast<Queue*>(stream));
}

void HostDriver::destroy_graph(GraphHandle graph) {
  std::shared_ptr<HostGraph> last;  // launches in flight hold their own reference
  std::lock_guard lock(mutex_);
  auto it = graphs_.find(static_cast<HostGraph*>(graph));
  if (it == graphs_.end()) return;
  last = std::move(it->second);
  graphs_.erase(it);
}

}  // namespace fabric::host
