// The host driver: devices host:0 to host:63 on CPU threads. Called by the fabric through Driver.
//
// Design. A stream is a Queue (FIFO and worker thread), an event a Signal, a graph a HostGraph; each
// has its own page. The driver owns the streams' and graphs' handles under one mutex that only
// creation and destruction take. Device memory is separate aligned host memory, counted against the
// machine's.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "fabric/driver.h"
#include "host/graph.h"
#include "host/queue.h"

namespace fabric::host {

class HostDriver final : public Driver {
 public:
  HostDriver();

  DriverKind kind() const override { return DriverKind::kHost; }
  const char* name() const override { return "host"; }
  int device_count() const override;
  DeviceProperties properties(int ordinal) const override;
  uint64_t free_bytes(int ordinal) const override;

  void* alloc(int ordinal, size_t bytes) override;
  void free(int ordinal, void* ptr, size_t bytes) override;
  void* alloc_staging(size_t bytes) override;
  void free_staging(void* ptr, size_t bytes) override;

  StreamHandle create_stream(int ordinal, StreamPurpose purpose, int priority) override;
  void destroy_stream(StreamHandle stream) override;
  bool query_stream(StreamHandle stream) override;
  bool synchronize_stream(StreamHandle stream, int64_t timeout_ms) override;

  EventHandle create_event(int ordinal, bool timing) override;
  void destroy_event(EventHandle event) override;
  void record(EventHandle event, StreamHandle stream) override;
  void wait(StreamHandle stream, EventHandle event) override;
  bool query_event(EventHandle event) override;
  bool synchronize_event(EventHandle event, int64_t timeout_ms) override;
  double elapsed_ms(EventHandle start, EventHandle stop) override;

  void stamp(int ordinal, StreamHandle stream, RecordHandle record, uint64_t host_ns) override;

  void copy(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
            StreamHandle stream) override;
  void copy_by_kernel(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
                      StreamHandle stream) override;
  void fill(void* dst, int ordinal, int byte, size_t bytes, StreamHandle stream) override;
  void combine(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
               double scale, int ordinal, StreamHandle stream) override;
  bool reduce_at_once(std::span<const ReducePart> parts, size_t count, DType dtype, ReduceOp op,
                      double scale) override;
  void notify(StreamHandle stream, std::function<void()> fn) override;
  void hold(StreamHandle stream, std::shared_ptr<Gate> gate) override;

  bool can_access_peer(int from, int to) override;
  void enable_peer(int from, int to) override;
  double measured_gbps(int from, int to) override;
  LinkInfo link(int from, int to) override;

  void begin_capture(StreamHandle stream) override;
  bool is_capturing(StreamHandle stream) override;
  GraphHandle end_capture(StreamHandle stream) override;
  void abandon_capture(StreamHandle stream) noexcept override;
  void launch_graph(GraphHandle graph, StreamHandle stream) override;
  void destroy_graph(GraphHandle graph) override;

  bool stop(int64_t timeout_ms) override;

 private:
  void* take_memory(size_t bytes, size_t alignment);
  void give_memory(void* ptr, size_t bytes);

  const uint64_t total_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
  std::mutex mutex_;
  std::unordered_map<Queue*, std::shared_ptr<Queue>> queues_;
  std::unordered_map<HostGraph*, std::shared_ptr<HostGraph>> graphs_;
};

/// What a fault of the pair does to `bytes` at `dst` that just crossed it; most often nothing.
void cross_pair(int from, int to, void* dst, size_t bytes);
/// dst[i] = op(a[i], b[i]) * scale, on the calling thread and the compute pool.
void combine_now(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
                 double scale);

}  // namespace fabric::host
