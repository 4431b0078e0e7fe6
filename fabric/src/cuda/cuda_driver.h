// The cuda driver: GPUs as devices. Called by the fabric through Driver.
//
// Streams are non-blocking CUDA streams, events plain CUDA events, memory comes from SegmentMemory.
// Calls that enqueue first make the stream's GPU current (a thread-local compare). The driver is
// made once and lives as long as the process; a failed call throws CudaError, a sticky one poisons
// the fabric.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/completion_poller.h"
#include "cuda/device_clock.h"
#include "cuda/segment_memory.h"
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
  bool query_event(EventHandle event) override;
  bool synchronize_event(EventHandle event, int64_t timeout_ms) override;
  double elapsed_ms(EventHandle start, EventHandle stop) override;

  void start_clock(int ordinal) override;
  void stamp(int ordinal, StreamHandle stream, uint64_t sequence, uint64_t host_ns) override;
  void collect_stamps() override;

  void copy(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
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
  int device_of(StreamHandle stream);
  cudaEvent_t take_notify_event(int ordinal);
  void give_notify_event(int ordinal, cudaEvent_t event);
  bool probe_peer(int from, int to, double* gbps);

  int count_;
  SegmentMemory memory_;
  CompletionPoller poller_;
  std::mutex mutex_;  // guards the rest
  std::unordered_map<StreamHandle, int> stream_device_;
  std::vector<std::vector<cudaEvent_t>> notify_events_;
  std::vector<uint32_t*> free_words_;  // pinned; a held stream waits for its word to become 1
  struct Peer {
    bool tried = false;
    bool works = false;
    double gbps = 0;
  };
  std::vector<Peer> peers_;  // from * count + to
  // One a GPU, each with locks of its own.
  std::vector<DeviceClock> clocks_ = std::vector<DeviceClock>(static_cast<size_t>(count_));
};

/// "00000000:1b:00.0", as NVML knows the GPU.
std::string pci_id(int ordinal);
/// Enqueues dst = op(a, b) * scale; combine.cu.
void launch_combine(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
                    double scale, int ordinal, cudaStream_t stream);
/// Waits for `ready` to say something else than cudaErrorNotReady, at most `timeout_ms`.
bool wait_until(cudaError_t (*ready)(void*), void* object, int64_t timeout_ms, const char* what);

}  // namespace fabric::cuda
