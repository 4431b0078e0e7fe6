// Event: a point in a stream's work, from its device's pool. Called wherever work crosses streams.
#include <utility>

#include "fabric/device.h"
#include "fabric/error.h"
#include "fabric/event_log.h"
#include "fabric/graph.h"
#include "runtime/gate_watch.h"

namespace fabric {

Event::Event(Device& device, bool timing)
    : device_(&device), handle_(device.take_event(timing)), timing_(timing) {}

Event::~Event() {
  if (handle_ != nullptr) device_->give_event(handle_, timing_);
}

Event::Event(Event&& other) noexcept
    : device_(other.device_),
      handle_(std::exchange(other.handle_, nullptr)),
      timing_(other.timing_),
      capture_(std::exchange(other.capture_, 0)),
      recorded_(std::exchange(other.recorded_, false)) {}

Event& Event::operator=(Event&& other) noexcept {
  if (this != &other) {
    if (handle_ != nullptr) device_->give_event(handle_, timing_);
    device_ = other.device_;
    handle_ = std::exchange(other.handle_, nullptr);
    timing_ = other.timing_;
    capture_ = std::exchange(other.capture_, 0);
    recorded_ = std::exchange(other.recorded_, false);
  }
  return *this;
}

void Event::record(Stream& stream) {
  if (handle_ == nullptr) fail(ErrorCode::kUsage, "an empty event cannot be recorded");
  if (&stream.device() != device_) {
    fail(ErrorCode::kUsage, "an event of %s cannot be recorded on a stream of %s",
         device_->name().c_str(), stream.device().name().c_str());
  }
  device_->driver().record(handle_, stream.handle());
  recorded_ = true;
  capture_ = 0;
  if (const uint64_t capture = device_->captures().id()) [[unlikely]] {
    if (device_->driver().is_capturing(stream.handle())) capture_ = capture;
  }
  event_log::log(EventKind::kEventRecord, device_->index(), stream.id(), kNoDevice, 0,
                 reinterpret_cast<uint64_t>(handle_));
}

bool Event::record_eager(Stream& stream) {
  const CaptureState& captures = stream.device().captures();
  const uint64_t begun = captures.begun();
  if (captures.id() != 0) return false;
  record(stream);
  return captures.begun() == begun;
}

void Event::wait(Stream& stream) const {
  if (!recorded_) return;
  if (&stream.device().driver() != &device_->driver()) {
    fail(ErrorCode::kDevice, "a stream of %s cannot wait for an event of %s: use order_after",
         stream.device().name().c_str(), device_->name().c_str());
  }
  Device& waiting = stream.device();
  if (capture_ != 0) [[unlikely]] {
    if (device_->captures().id() != capture_) refuse_captured("a stream's wait");
    if (waiting.captures().id() != capture_) {
      fail(ErrorCode::kUsage,
           "%s cannot wait for captured work of %s: it is not part of that capture; name all "
           "devices when it begins",
           waiting.name().c_str(), device_->name().c_str());
    }
  } else if (waiting.capturing() && waiting.driver().is_capturing(stream.handle())) [[unlikely]] {
    fail(ErrorCode::kUsage,
         "%s: a captured stream cannot wait for work of %s that was enqueued outside the capture",
         waiting.name().c_str(), device_->name().c_str());
  }
  if (capture_ != 0) [[unlikely]] {
    waiting.driver().wait_captured(stream.handle(), handle_);
  } else {
    waiting.driver().wait(stream.handle(), handle_);
  }
  event_log::log(EventKind::kEventWait, stream.device().index(), stream.id(), device_->index(), 0,
                 reinterpret_cast<uint64_t>(handle_));
}

void Event::refuse_captured(const char* what) const {
  fail(ErrorCode::kUsage,
       "%s: %s refers to an event whose latest record belongs to a graph capture; record it again "
       "outside",
       device_->name().c_str(), what);
}

bool Event::query() const {
  if (capture_ != 0) refuse_captured("a query");
  return !recorded_ || device_->driver().query_event(handle_);
}

bool Event::synchronize(int64_t timeout_ms) const {
  if (capture_ != 0) refuse_captured("synchronize");
  if (!recorded_) return true;
  count_host_wait();
  return device_->driver().synchronize_event(handle_, timeout_ms);
}

void order_after(Stream& later, Stream& earlier) {
  if (&later == &earlier) return;
  if (&later.device().driver() != &earlier.device().driver()) {
    require_eager(earlier.device(), "an edge to another kind of device");
    require_eager(later.device(), "an edge to another kind of device");
    later.device().driver().hold(later.handle(), gate_behind(earlier, later));
    return;
  }
  Event event(earlier.device());
  event.record(earlier);
  event.wait(later);
}

}  // namespace fabric
