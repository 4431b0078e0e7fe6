// The driver interface: everything the fabric asks of a kind of device. fabric/src/host and
// fabric/src/cuda implement it; nothing above fabric/ sees it except kernel launches, which take
// the raw StreamHandle.
//
// Contract, the same for both drivers:
//  - Enqueue-only. No call here waits for device work unless its name says `synchronize`; each of
//    those takes a time limit and reports whether it was met.
//  - A stream is a FIFO. Work on different streams is ordered only by record() and wait().
//  - wait(stream, event) refers to the latest record() made before the call, as in CUDA; an event
//    that was never recorded does not hold the stream.
//  - Memory from alloc() is device memory: host code touches it only on the host driver's streams.
//  - Calls may come from any thread; calls on one stream from several threads are serialised
//    inside.
//  - Errors throw fabric::Error; alloc() alone reports exhaustion by value, since the allocator
//    above has a reclaim ladder to run first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "fabric/dtype.h"
#include "fabric/event_log.h"
#include "fabric/gate.h"

namespace fabric {

using StreamHandle = void*;  ///< cudaStream_t or host::Queue*
using EventHandle = void*;   ///< cudaEvent_t or host::Signal*
using GraphHandle = void*;   ///< an instantiated graph

enum class DriverKind : uint8_t { kHost = 0, kCuda = 1 };
enum class StreamPurpose : uint8_t {
  kCompute = 0,
  kComm = 1,
  kCopyIn = 2,
  kCopyOut = 3,
  kUser = 4
};
enum class ReduceOp : uint8_t { kSum = 0, kAvg = 1, kMax = 2, kMin = 3, kProd = 4 };

/// Means "host memory" where a device ordinal is asked for.
inline constexpr int kHostMemory = -1;

struct DeviceProperties {
  std::string model;         ///< processor or GPU name
  uint64_t total_bytes = 0;  ///< memory that the device may use
  int multiprocessors = 0;   ///< SMs, or threads that the host driver uses
  int capability_major = 0;  ///< 0 on the host driver
  int capability_minor = 0;
  std::string uuid;
  std::string pci;
  std::string driver_version;   ///< of the kernel driver, "580.95.05"; empty on the host driver
  std::string runtime_version;  ///< CUDA runtime in this build, "13.0"; empty on the host driver
};

/// How two devices of one driver are joined, as far as can be told without moving bytes.
struct LinkInfo {
  std::string kind = "memory";  ///< "memory", "nvlink" or "pcie"
  int lanes = 0;                ///< NVLinks or PCIe lanes side by side; 0: not told
  double nominal_gbps = 0;      ///< GB/s in one direction over all of them; 0: not told
  std::string through;          ///< "NVSwitch", "PCIe switch", "host bridge", ...; empty: direct
  bool native_atomics = false;  ///< atomics of one on the other's memory are whole
  int performance_rank = -1;    ///< CUDA's: 0 is the best kind of link here; -1: not told
};

/// One rank of Driver::reduce_at_once().
struct ReducePart {
  int ordinal = 0;
  StreamHandle stream = nullptr;
  const void* in = nullptr;
  void* out = nullptr;
};

class Driver {
 public:
  virtual ~Driver() = default;
  virtual DriverKind kind() const = 0;
  virtual const char* name() const = 0;  ///< "host" or "cuda"
  virtual int device_count() const = 0;
  virtual DeviceProperties properties(int ordinal) const = 0;
  virtual uint64_t free_bytes(int) const { return 0; }  ///< that nobody has taken now; 0: not told

  // Memory
  virtual void* alloc(int ordinal, size_t bytes) = 0;  ///< nullptr: out of memory; 512-byte aligned
  virtual void free(int ordinal, void* ptr, size_t bytes) = 0;  ///< caller has drained its users
  /// Host memory that copies run from at full rate; nullptr: out of memory.
  virtual void* alloc_staging(size_t bytes) = 0;
  virtual void free_staging(void* ptr, size_t bytes) = 0;

  // Streams
  virtual StreamHandle create_stream(int ordinal, StreamPurpose purpose, int priority) = 0;
  virtual void destroy_stream(StreamHandle stream) = 0;  ///< after its queued work is done
  virtual bool query_stream(StreamHandle stream) = 0;    ///< true when nothing is queued or running
  virtual bool synchronize_stream(StreamHandle stream,
                                  int64_t timeout_ms) = 0;  ///< false: timed out

  // Events
  virtual EventHandle create_event(int ordinal, bool timing) = 0;
  virtual void destroy_event(EventHandle event) = 0;
  virtual void record(EventHandle event, StreamHandle stream) = 0;
  virtual void wait(StreamHandle stream, EventHandle event) = 0;
  /// The same where both belong to a capture.
  virtual void wait_captured(StreamHandle stream, EventHandle event) { wait(stream, event); }
  virtual bool query_event(EventHandle event) = 0;  ///< true when its latest record() has completed
  virtual bool synchronize_event(EventHandle event, int64_t timeout_ms) = 0;
  virtual double elapsed_ms(EventHandle start, EventHandle stop) = 0;  ///< both timing and complete

  // Device times of the event log (mode `timing`). None of these throws, waits for a device, or
  // leaves anything on a stream that is being captured.
  /// Makes the clock of `ordinal` ready, so that the first stamp need not; at most some ms.
  virtual void start_clock(int ordinal) {}
  /// When `stream` has done everything enqueued so far, that time goes into the log's
  /// `record` (event_log::set_device_time); `host_ns` is the record's host time.
  virtual void stamp(int ordinal, StreamHandle stream, RecordHandle record, uint64_t host_ns) {}
  /// Writes the times of stamps that have passed to the log; snapshots call it.
  virtual void collect_stamps() {}

  // Work. Ordinals may be kHostMemory for staging memory.
  virtual void copy(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
                    StreamHandle stream) = 0;
  /// As copy() between two devices that reach each other, by loads and stores of a kernel on the
  /// stream's device. For tests of pairs: transfers use copy().
  virtual void copy_by_kernel(void* dst, int dst_ordinal, const void* src, int src_ordinal,
                              size_t bytes, StreamHandle stream) = 0;
  virtual void fill(void* dst, int ordinal, int byte, size_t bytes, StreamHandle stream) = 0;
  /// dst[i] = op(a[i], b[i]) * scale over `count` elements; dst may be a or b. Floats of 16 bits
  /// are combined in f32. op kAvg is a sum: the caller passes scale = 1/ranks on the last hop.
  virtual void combine(void* dst, const void* a, const void* b, size_t count, DType dtype,
                       ReduceOp op, double scale, int ordinal, StreamHandle stream) = 0;
  /// Every `out` becomes op over all `in`, in order, times `scale`: done by the calling thread, with
  /// the effect of work at the head of every part's stream. False, with nothing touched, where the
  /// driver has no such path, a stream has work, or it would not pay.
  virtual bool reduce_at_once(std::span<const ReducePart> parts, size_t count, DType dtype,
                              ReduceOp op, double scale) {
    return false;
  }
  /// Calls `fn` on a thread of the driver after everything enqueued on `stream` so far. `fn` must
  /// be short, must not throw and must not call the driver.
  virtual void notify(StreamHandle stream, std::function<void()> fn) = 0;
  /// Work enqueued on `stream` from now on waits until `gate` is open. Does not block the caller.
  virtual void hold(StreamHandle stream, std::shared_ptr<Gate> gate) = 0;

  // Peers
  virtual bool can_access_peer(int from, int to) = 0;
  virtual void enable_peer(int from, int to) = 0;         ///< throws PeerAccessError
  virtual double measured_gbps(int from, int to) = 0;     ///< 0 when not measured
  virtual LinkInfo link(int from, int to) { return {}; }  ///< two ordinals that differ

  // Graphs: record what is enqueued on a stream (and on streams that join it by events) and replay.
  virtual void begin_capture(StreamHandle stream) = 0;
  /// `stream` is being captured now, because a capture began on it or because it joined one.
  virtual bool is_capturing(StreamHandle stream) = 0;
  virtual GraphHandle end_capture(StreamHandle stream) = 0;
  /// Ends the capture that began on `stream` and drops what it recorded; also one that broke.
  virtual void abandon_capture(StreamHandle stream) noexcept = 0;
  virtual void launch_graph(GraphHandle graph, StreamHandle stream) = 0;
  virtual void destroy_graph(GraphHandle graph) = 0;

  /// Stops the driver's threads once their queued work is done; false when that took longer. No
  /// other call may follow.
  virtual bool stop(int64_t timeout_ms) { return true; }
};

}  // namespace fabric
