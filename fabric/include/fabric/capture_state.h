// Whether a device is being captured, and by whom. Each Device has one; Capture sets it, whatever
// must keep clear of captures asks it (allocator, staging, events, require_eager).
//
// Design. claim() marks the device before any of its streams can be captured and release() unmarks
// it after none is any more, so an unmarked device has no captured stream. Threads that record an
// event in the background take no lock for that: Event::record_eager() compares begun() around the
// record, and an event that a beginning capture may have swallowed is dropped, never asked (on a
// GPU the question alone would break the capture).
//  - Who signals: release() counts the end and wakes wait_capture_end().
//  - Staging buffers that captured copies use belong to the graph: keep() takes them while the
//    capture goes on, take_kept() gives them to it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace fabric {

class Stream;
struct StagingBuffer;

/// What captured work needs beside memory: its capture keeps it, then its graph.
class CapturedNeed {
 public:
  virtual ~CapturedNeed() = default;
  /// Before each run of the graph: throws when it cannot run. May wait, bounded.
  virtual void before_run() {}
};

class CaptureState {
 public:
  using Kept = std::vector<std::pair<StagingBuffer, Stream*>>;
  CaptureState();
  ~CaptureState();

  /// The capture over this device, 0 outside one.
  uint64_t id() const { return id_.load(std::memory_order_seq_cst); }
  /// Captures that have begun so far.
  uint64_t begun() const { return begun_.load(std::memory_order_seq_cst); }
  /// The calling thread began the capture that goes on.
  bool begun_here() const;

  /// Marks the device as captured by `id`; false when another capture goes on.
  bool claim(uint64_t id);
  void release();
  /// Leaves `buffer`, which work on `stream` uses, to the capture; false outside one.
  bool keep(const StagingBuffer& buffer, Stream& stream);
  /// Leaves what launched work needs to the capture.
  void keep(std::shared_ptr<CapturedNeed> need);
  Kept take_kept();
  std::vector<std::shared_ptr<CapturedNeed>> take_needs();

 private:
  std::atomic<uint64_t> id_{0};
  std::atomic<uint64_t> begun_{0};
  std::atomic<std::thread::id> thread_{};
  std::mutex mutex_;  // guards kept_, and id_ against keep()
  Kept kept_;
  std::vector<std::shared_ptr<CapturedNeed>> needs_;
};

/// Captures of the process that have ended, by device.
uint64_t captures_ended();
/// Blocks until captures_ended() is more than `seen`; false when the limit passed.
bool wait_capture_end(uint64_t seen, int64_t timeout_ms);

}  // namespace fabric
