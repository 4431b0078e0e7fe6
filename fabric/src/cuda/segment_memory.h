// Device memory for the allocator's segments: virtual-memory-management mappings that every peer
// may reach, plain cudaMalloc where a device lacks them. Called by CudaDriver::alloc and free. Each
// device has its own lock, so none waits for another's allocations.
#pragma once

#include <cstddef>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace fabric::cuda {

class SegmentMemory {
 public:
  /// `devices`: all GPUs of the process. Reads which of them map memory and which reach each other.
  explicit SegmentMemory(int devices);

  /// nullptr when the device has too little memory; 512-byte aligned at least.
  void* alloc(int ordinal, size_t bytes);
  void free(int ordinal, void* ptr);
  /// Lets `from` reach all present and later segments of `to`. Throws PeerAccessError.
  void open_to_peer(int from, int to);
  bool mapped(int ordinal) const { return owners_[static_cast<size_t>(ordinal)].granularity != 0; }

 private:
  struct Mapping {
    size_t bytes;
    unsigned long long handle;
  };
  struct Owner {
    size_t granularity = 0;    // 0: the device does not map memory
    std::mutex mutex;          // guards the rest
    std::vector<int> readers;  // devices with access, itself first
    std::unordered_map<void*, Mapping> mappings;
  };
  Owner& owner(int ordinal) { return owners_[static_cast<size_t>(ordinal)]; }
  void* alloc_mapped(int ordinal, size_t bytes);

  std::vector<Owner> owners_;  // by device; never resized
};

}  // namespace fabric::cuda
