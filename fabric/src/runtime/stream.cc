// Stream: one ordered queue of a device, over the driver's handle. Made by Device alone.
#include <atomic>

#include "fabric/device.h"
#include "fabric/error.h"
#include "fabric/fabric.h"
#include "fabric/graph.h"

namespace fabric {

Stream::Stream(Device* device, StreamPurpose purpose, uint16_t id, int priority)
    : device_(device),
      purpose_(purpose),
      id_(id),
      handle_(device->driver().create_stream(device->ordinal(), purpose, priority)) {}

Stream::~Stream() { device_->driver().destroy_stream(handle_); }

namespace {
std::atomic<uint64_t> g_host_waits{0};
}

uint64_t host_waits() { return g_host_waits.load(std::memory_order_relaxed); }
void count_host_wait() { g_host_waits.fetch_add(1, std::memory_order_relaxed); }

void Stream::synchronize(int64_t timeout_ms) {
  require_eager(*device_, "waiting for a stream");
  count_host_wait();
  if (device_->driver().synchronize_stream(handle_, timeout_ms)) {
    check_poison();
    return;
  }
  fail(ErrorCode::kUsage, "%s: stream %u was not done after %lld ms", device_->name().c_str(),
       static_cast<unsigned>(id_), static_cast<long long>(timeout_ms));
}

bool Stream::capturing() const {
  return device_->capturing() && device_->driver().is_capturing(handle_);
}

bool Stream::idle() const { return device_->driver().query_stream(handle_); }

}  // namespace fabric
