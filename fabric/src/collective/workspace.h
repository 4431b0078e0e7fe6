// Memory that an opened algorithm keeps for its group: zeroed, persistent, mapped to all members.
// Sessions own it; it bypasses the caching allocator, whose blocks come and go in stream order.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fabric/device.h"

namespace fabric {

/// `bytes` on each device. Destroy it only when no work uses it any more.
class Workspace {
 public:
  /// Blocks until the memory is zero. Throws OutOfMemoryError. Also inside a capture.
  Workspace(std::span<Device* const> devices, size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* at(size_t rank) const { return memory_[rank]; }
  size_t bytes() const { return bytes_; }
  /// Makes it zero again; blocks until then. Nothing may use it meanwhile.
  void clear();

 private:
  void release() noexcept;

  const std::vector<Device*> devices_;
  const size_t bytes_;
  std::vector<void*> memory_;  // by rank
};

}  // namespace fabric
