// Captured work: what is enqueued on a set of streams is recorded once and replayed many times, on
// one device or over several. Used by captured training steps (native/graph) and by tests; the
// drivers do the recording.
//
// Design. A Capture begins on one stream, the origin; the others join it by an event and are joined
// back at the end, so that the whole is one graph over all devices. Each device's own streams, and
// any stream of it that joins, allocate from a private pool while it lasts, so that no other work
// ever gets the graph's memory. Only streams of the capture's devices can join (fabric/device.h).
// From begin() to end() the devices count as capturing: whatever would wait for the device, read
// from it, or depend on host memory that is reused asks require_eager() first and throws a named
// error before the capture can break.
//  - Threads: begin() and end() come from one thread at a time; work may be enqueued from several,
//    each on streams of its own device.
//  - A launch: every given stream's work so far comes before the graph, everything enqueued on them
//    later comes after it. Launches of one graph run one after the other.
//  - A graph that holds collectives is launched as they are: under the process's launch order, after
//    the work so far on the comm streams that took part and before what follows on them. So it never
//    runs beside an eager call of the same group, whose inboxes it may share. When kernels in it wait
//    for each other, it takes its turn with others of that kind (runtime/kernel_turns.h).
//  - What breaks it: work that another thread enqueues on a captured device; freeing memory that the graph uses but did not allocate; a stream that joined
//    the capture by an event and was not joined back (end() then throws).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fabric/device.h"

namespace fabric {

/// A replayable graph. Thread safe. Destroying it waits for its last launch, at most 60 s, and then
/// gives its memory back, but for blocks that are still in use: those keep their pool.
class Graph {
 public:
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Enqueues one run, after the work so far on `streams` and before what follows on them; all
  /// are streams of the graph's devices. Blocks only as make_ready() does. Throws UsageError inside a
  /// capture.
  void launch(std::span<Stream* const> streams);
  /// Makes what the captured calls need usable again after an abort or a fault, for which it waits,
  /// bounded, until their group's work has ended; else returns at once. Throws the fault that nobody
  /// was told.
  void make_ready();
  /// The same as launch() for group/launch.cc, which made it ready and holds launch_order().
  void launch_ordered(std::span<Stream* const> streams);
  const std::vector<Device*>& devices() const { return devices_; }
  uint32_t id() const { return id_; }
  uint64_t launches() const { return launches_.load(std::memory_order_relaxed); }

 private:
  friend class Capture;
  Graph() = default;

  uint32_t id_ = 0;
  GraphHandle handle_ = nullptr;
  Stream* origin_ = nullptr;
  std::vector<Device*> devices_;
  std::vector<uint32_t> pools_;  // by device
  std::vector<Stream*> comms_;   // comm streams that took part, of all channels
  CaptureState::Kept staging_;   // buffers that captured copies use
  std::vector<std::shared_ptr<CapturedNeed>> needs_;  // each once
  std::mutex mutex_;                                  // one launch at a time enqueues
  Event last_;                                        // behind the latest launch
  std::atomic<uint64_t> launches_{0};
};

/// A capture that is going on. Destroyed before end(): what was recorded is dropped.
class Capture {
 public:
  /// Begins on `streams`, at most one of a device; the first is the origin. Throws UsageError when
  /// a device is capturing already, DeviceError when the streams' drivers differ.
  static std::unique_ptr<Capture> begin(std::vector<Stream*> streams);
  /// Ends it: the graph, ready for launches. Throws UsageError or CudaError when the work cannot be
  /// captured; nothing is left behind then.
  std::shared_ptr<Graph> end();
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

 private:
  Capture() = default;
  void claim(uint64_t id);
  void close();

  std::vector<Stream*> streams_;
  std::vector<Device*> claimed_;
  std::vector<uint32_t> pools_;                      // by stream
  std::vector<std::pair<Device*, Stream*>> pooled_;  // streams that allocate from a pool
  bool open_ = false;
};

/// True when all of `devices` are in the same capture, false when none is in any. Throws UsageError
/// naming those that are outside when only some are.
bool captured_together(std::span<Device* const> devices, const char* what);
/// Throws UsageError("<what> cannot be part of a captured step …") while `device` is capturing.
void require_eager(const Device& device, const char* what);

}  // namespace fabric
