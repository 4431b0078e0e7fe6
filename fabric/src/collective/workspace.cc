// See collective/workspace.h. Clearing runs on streams of its own: a group's streams may be part of a
// capture, which would record it.
#include "collective/workspace.h"

#include "fabric/allocator.h"
#include "fabric/error.h"

namespace fabric {
namespace {

constexpr int64_t kClearMs = 60'000;

class OwnStream {
 public:
  explicit OwnStream(Device& device)
      : driver_(device.driver()),
        handle_(driver_.create_stream(device.ordinal(), StreamPurpose::kUser, 0)) {}
  ~OwnStream() { driver_.destroy_stream(handle_); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  StreamHandle handle() const { return handle_; }

 private:
  Driver& driver_;
  StreamHandle handle_;
};

}  // namespace

Workspace::Workspace(std::span<Device* const> devices, size_t bytes)
    : devices_(devices.begin(), devices.end()), bytes_(bytes) {
  try {
    for (Device* device : devices_) {
      void* memory = device->driver().alloc(device->ordinal(), bytes_);
      if (memory == nullptr) {
        device->allocator().release_cached();
        memory = device->driver().alloc(device->ordinal(), bytes_);
      }
      if (memory == nullptr) {
        fail(ErrorCode::kOutOfMemory, "%s has no %zu bytes left for a group's workspace",
             device->name().c_str(), bytes_);
      }
      memory_.push_back(memory);
    }
    clear();
  } catch (...) {
    release();
    throw;
  }
}

Workspace::~Workspace() { release(); }

void Workspace::clear() {
  for (size_t r = 0; r < devices_.size(); ++r) {
    Device& device = *devices_[r];
    OwnStream stream(device);
    device.driver().fill(memory_[r], device.ordinal(), 0, bytes_, stream.handle());
    if (!device.driver().synchronize_stream(stream.handle(), kClearMs)) {
      fail(ErrorCode::kDevice, "%s did not clear a group's workspace within %lld s",
           device.name().c_str(), static_cast<long long>(kClearMs / 1000));
    }
  }
}

void Workspace::release() noexcept {
  for (size_t r = 0; r < memory_.size(); ++r) {
    try {
      devices_[r]->driver().free(devices_[r]->ordinal(), memory_[r], bytes_);
    } catch (const Error&) {  // a lost device: its memory is gone with it
    }
  }
  memory_.clear();
}

}  // namespace fabric
