// See device_clock.h.
#include "cuda/device_clock.h"

#include <algorithm>
#include <shared_mutex>

#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"
#include "fabric/event_log.h"

namespace fabric::cuda {
namespace {

constexpr uint64_t kStartNs = 5'000'000;
constexpr uint64_t kAgainNs = 200'000;
constexpr uint64_t kAnchorNs = 5'000'000'000;
constexpr uint64_t kHopNs = 400'000'000;
constexpr uint64_t kGoodGapNs = 15'000;  // between record and answer; nearer is not worth a retry
constexpr uint64_t kSoonNs = 40'000;     // an older candidate says too little
constexpr int kTries = 8;
constexpr size_t kMostWaiting = 16384;
constexpr int kBatch = 64;

// A failed call here costs a device time and nothing else: forget the error. A sticky one stays
// and the next call of the driver reports it.
bool succeeds(cudaError_t status) {
  if (status == cudaSuccess) [[likely]]
    return true;
  cudaGetLastError();
  return false;
}

bool captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return !succeeds(cudaStreamIsCapturing(stream, &status)) || status != cudaStreamCaptureStatusNone;
}

class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;  // then the thread's own
};

}  // namespace

void DeviceClock::start(int ordinal) {
  RelaxedCapture relaxed;
  std::lock_guard anchoring(anchoring_);
  {
    std::lock_guard lock(mutex_);
    ordinal_ = ordinal;
    if (stream_ == nullptr) {
      use_device(ordinal);
      int least = 0, greatest = 0;
      cudaDeviceGetStreamPriorityRange(&least, &greatest);
      if (!succeeds(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest))) {
        stream_ = nullptr;
        return;
      }
    }
  }
  started_.store(true, std::memory_order_release);
  poll_anchor(kStartNs, UINT64_MAX);
}

// Takes an anchor that is known better than `best_ns`.
void DeviceClock::poll_anchor(uint64_t limit_ns, uint64_t best_ns) {
  const uint64_t now = event_log::now_ns();
  renewed_at_ns_.store(now, std::memory_order_relaxed);
  for (int i = 0; i < kTries && best_ns > kGoodGapNs; ++i) {
    if (!try_anchor(now + limit_ns, &best_ns)) return;
  }
}

// One attempt; its event becomes the anchor when it is known better than *gap_ns. False: give up.
bool DeviceClock::try_anchor(uint64_t deadline_ns, uint64_t* gap_ns) {
  cudaEvent_t event = nullptr;
  {
    std::lock_guard lock(mutex_);
    event = take_event();
  }
  if (event == nullptr) return false;
  const uint64_t begin = event_log::now_ns();
  uint64_t end = begin;
  cudaError_t status = cudaEventRecord(event, stream_);
  if (status == cudaSuccess) {
    do {
      status = cudaEventQuery(event);
      end = event_log::now_ns();
    } while (status == cudaErrorNotReady && end < deadline_ns);
    cudaGetLastError();  // "not ready" must not be blamed on the next launch
  }
  const bool passed = succeeds(status);
  std::lock_guard lock(mutex_);
  if (passed && end - begin < *gap_ns) {
    *gap_ns = end - begin;
    adopt_anchor(event, begin, end);
  } else {
    free_.push_back(event);  // recorded anew by whoever takes it, also when it has not passed yet
  }
  return passed && end < deadline_ns;
}

void DeviceClock::adopt_anchor(cudaEvent_t event, uint64_t begin_ns, uint64_t end_ns) {
  if (anchor_ != nullptr) free_.push_back(anchor_);
  anchor_ = event;
  anchor_ns_ = begin_ns + (end_ns - begin_ns) / 2;
}

// Without waiting: one call records a candidate, a later one takes it when it came soon enough.
void DeviceClock::renew_anchor() {
  const uint64_t now = event_log::now_ns();
  if (candidate_ == nullptr) {
    if (now - renewed_at_ns_.load(std::memory_order_relaxed) < kAnchorNs) return;
    candidate_ = take_event();
    if (candidate_ == nullptr) return;
    candidate_ns_ = event_log::now_ns();
    if (succeeds(cudaEventRecord(candidate_, stream_))) return;
  } else if (now - candidate_ns_ <= kSoonNs && cudaEventQuery(candidate_) == cudaSuccess) {
    adopt_anchor(candidate_, candidate_ns_, event_log::now_ns());
    candidate_ = nullptr;
    renewed_at_ns_.store(now, std::memory_order_relaxed);
    return;
  } else if (now - candidate_ns_ <= kSoonNs) {
    cudaGetLastError();
    return;  // not passed yet
  }
  free_.push_back(candidate_);  // the next call tries again
  candidate_ = nullptr;
}

cudaEvent_t DeviceClock::take_event() {
  if (!free_.empty()) {
    cudaEvent_t event = free_.back();
    free_.pop_back();
    return event;
  }
  use_device(ordinal_);
  cudaEvent_t event = nullptr;
  return succeeds(cudaEventCreate(&event)) ? event : nullptr;
}

void DeviceClock::stamp(int ordinal, cudaStream_t stream, RecordHandle record, uint64_t host_ns) {
  if (captured(stream)) return;
  if (!started_.load(std::memory_order_acquire)) start(ordinal);  // opened after the mode was set
  RelaxedCapture relaxed;
  std::lock_guard lock(mutex_);
  if (stream_ != nullptr) renew_anchor();
  if (anchor_ == nullptr) return;
  Line& line = lines_[stream];
  take_passed(line, 2);
  if (waiting_.load(std::memory_order_relaxed) >= kMostWaiting) return;
  cudaEvent_t event = take_event();
  if (event == nullptr) return;
  // A capture that the stream joined just now may have swallowed the event: it must not be asked.
  if (!succeeds(cudaEventRecord(event, stream)) || captured(stream)) {
    free_.push_back(event);
    return;
  }
  line.waiting.push_back({event, record, host_ns});
  waiting_.fetch_add(1, std::memory_order_relaxed);
}

// Events on one stream pass in order: the first that has not ends the search.
int DeviceClock::take_passed(Line& line, int most) {
  int taken = 0;
  while (taken < most && !line.waiting.empty()) {
    const Stamp stamp = line.waiting.front();
    const cudaError_t status = cudaEventQuery(stamp.event);
    if (status == cudaErrorNotReady) {
      cudaGetLastError();
      break;
    }
    line.waiting.pop_front();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    ++taken;
    if (succeeds(status)) {
      write(line, stamp);
    } else {
      free_.push_back(stamp.event);
    }
  }
  return taken;
}

void DeviceClock::write(Line& line, const Stamp& stamp) {
  float ms = 0;  // negative when the anchor is younger
  if (!succeeds(cudaEventElapsedTime(&ms, anchor_, stamp.event))) {
    free_.push_back(stamp.event);
    return;
  }
  const double since_ns = static_cast<double>(ms) * 1e6;
  const auto ns =
      static_cast<uint64_t>(static_cast<int64_t>(anchor_ns_) + static_cast<int64_t>(since_ns));
  line.last_ns = std::max(line.last_ns, std::max(ns, stamp.host_ns));
  event_log::set_device_time(stamp.record, stamp.host_ns, line.last_ns);
  if (since_ns > static_cast<double>(kHopNs)) {
    free_.push_back(anchor_);
    anchor_ = stamp.event;
    anchor_ns_ = ns;
  } else {
    free_.push_back(stamp.event);
  }
}

void DeviceClock::collect() {
  if (!started_.load(std::memory_order_acquire)) return;
  const bool old = event_log::now_ns() - renewed_at_ns_.load(std::memory_order_relaxed) > kAnchorNs;
  if (!old && waiting_.load(std::memory_order_relaxed) == 0) return;
  RelaxedCapture relaxed;
  if (std::unique_lock anchoring(anchoring_, std::defer_lock); old && anchoring.try_lock()) {
    poll_anchor(kAgainNs, kSoonNs);
  }
  for (bool more = true; more;) {
    std::lock_guard lock(mutex_);
    int left = kBatch;
    for (auto& [stream, line] : lines_) {
      left -= take_passed(line, left);
      if (left == 0) break;
    }
    more = left == 0;
  }
}

namespace {

// The interface promises not to throw; use_device() does when the context is lost.
template <typename Body>
void without_errors(Body&& body) {
  try {
    body();
  } catch (const Error&) {
  }
}

}  // namespace

void CudaDriver::start_clock(int ordinal) {
  without_errors([&] { clocks_[static_cast<size_t>(ordinal)].start(ordinal); });
}

void CudaDriver::stamp(int ordinal, StreamHandle stream, RecordHandle record, uint64_t host_ns) {
  without_errors([&] {
    std::shared_lock lock(capture_gate_);  // no capture ends between record and look
    clocks_[static_cast<size_t>(ordinal)].stamp(ordinal, static_cast<cudaStream_t>(stream), record,
                                                host_ns);
  });
}

void CudaDriver::collect_stamps() {
  for (int i = 0; i < count_; ++i) {
    without_errors([&] { clocks_[static_cast<size_t>(i)].collect(); });
  }
}

}  // namespace fabric::cuda
