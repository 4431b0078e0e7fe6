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
      recorded_(std::exchange(other.recorded_, false)) {}

Event& Event::operator=(Event&& other) noexcept {
  if (this != &other) {
    if (handle_ != nullptr) device_->give_event(handle_, timing_);
    device_ = other.device_;
    handle_ = std::exchange(other.handle_, nullptr);
    timing_ = other.timing_;
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
  event_log::log(EventKind::kEventRecord, device_->index(), stream.id(), kNoDevice, 0,
                 reinterpret_cast<uint64_t>(handle_));
}

void Event::wait(Stream& stream) const {
  if (!recorded_) return;
  if (&stream.device().driver() != &device_->driver()) {
    fail(ErrorCode::kDevice, "a stream of %s cannot wait for an event of %s: use order_after",
         stream.device().name().c_str(), device_->name().c_str());
  }
  stream.device().driver().wait(stream.handle(), handle_);
  event_log::log(EventKind::kEventWait, stream.device().index(), stream.id(), device_->index(), 0,
                 reinterpret_cast<uint64_t>(handle_));
}

bool Event::query() const { return !recorded_ || device_->driver().query_event(handle_); }

bool Event::synchronize(int64_t timeout_ms) const {
  return !recorded_ || device_->driver().synchronize_event(handle_, timeout_ms);
}

void order_after(Stream& later, Stream& earlier) {
  if (&later == &earlier) return;
  if (&later.device().driver() != &earlier.device().driver()) {
    require_eager(earlier.device(), "an edge to another kind of device");
    require_eager(later.device(), "an edge to another kind of device");
    auto gate = std::make_shared<Gate>();
    watch_gate(gate, "stream " + std::to_string(later.id()) + " of " + later.device().name());
    earlier.device().driver().notify(earlier.handle(), [gate] { gate->open(); });
    later.device().driver().hold(later.handle(), gate);
    return;
  }
  Event event(earlier.device());
  event.record(earlier);
  event.wait(later);
}

}  // namespace fabric
