// The cuda driver: GPUs as devices. Called by the fabric through Driver.
//
// Streams are non-blocking CUDA streams, events plain CUDA events. Each part that keeps something
// has its own page and its own lock: SegmentMemory (a lock a GPU), StreamTable, StreamSignals,
// PeerTable, DeviceClock. Calls that enqueue first make the stream's GPU current (a thread-local
// compare): a captured copy belongs to the context that is current. The driver is made once and
// lives as long as the process; a failed call throws CudaError, a sticky one poisons the fabric.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/device_clock.h"
#include "cuda/peer_table.h"
#include "cuda/segment_memory.h"
#include "cuda/stream_signals.h"
#include "cuda/stream_table.h"
#include "fabric/driver.h"

namespace fabric::cuda {

class CudaDriver final : public Driver {
 public:
  /// nullptr where there is no driver or no GPU of a supported kind.
  static std::unique_ptr<Driver> create();

  DriverKind kind() const override { return DriverKind::kCuda; }
  const char* name() const override { return "cuda"; }
  int device_count() const override { return count_; }
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
  void wait_captured(StreamHandle stream, EventHandle event) override;
  bool query_event(EventHandle event) override;
  bool synchronize_event(EventHandle event, int64_t timeout_ms) override;
  double elapsed_ms(EventHandle start, EventHandle stop) override;

  void start_clock(int ordinal) override;
  void stamp(int ordinal, StreamHandle stream, RecordHandle record, uint64_t host_ns) override;
  void collect_stamps() override;

  void copy(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
            StreamHandle stream) override;
  void copy_by_kernel(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
                      StreamHandle stream) override;
  void fill(void* dst, int ordinal, int byte, size_t bytes, StreamHandle stream) override;
  void combine(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
               double scale, int ordinal, StreamHandle stream) override;
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

 private:
  explicit CudaDriver(int count);
  /// Makes the stream's GPU current; returns it.
  int use_device_of(StreamHandle stream) const;

  int count_;
  SegmentMemory memory_;
  StreamTable streams_;
  CaptureGate capture_gate_;
  StreamSignals signals_;
  PeerTable peers_;
  // One a GPU, each with locks of its own.
  std::vector<DeviceClock> clocks_ = std::vector<DeviceClock>(static_cast<size_t>(count_));
};

/// "00000000:1b:00.0", as NVML knows the GPU.
std::string pci_id(int ordinal);
/// Enqueues dst = op(a, b) * scale; combine.cu.
void launch_combine(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
                    double scale, int ordinal, cudaStream_t stream);
/// Enqueues a copy by loads and stores; peer_copy.cu.
void launch_peer_copy(void* dst, const void* src, size_t bytes, cudaStream_t stream);
/// Waits for `ready` to say something else than cudaErrorNotReady, at most `timeout_ms`.
bool wait_until(cudaError_t (*ready)(void*), void* object, int64_t timeout_ms, const char* what);

}  // namespace fabric::cuda
