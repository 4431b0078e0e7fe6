// What every CUDA operator does around its kernels: the right current device, grid sizes, scratch
// memory. Included by native/cuda/*.cu only. Nothing here allocates on the host or asks the driver
// for properties, so a launch costs little over the bare one.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "dispatch/kernels.h"
#include "fabric/allocator.h"
#include "fabric/cuda_launch.h"

namespace weft::cuda {

using fabric::cuda::check;
using fabric::cuda::check_launch;

/// The CUDA stream of `stream`, with its device made current.
inline cudaStream_t enter(Stream& stream) {
  fabric::cuda::use_device(stream.device().ordinal());
  return static_cast<cudaStream_t>(stream.handle());
}

inline int multiprocessors(Stream& stream) {
  return fabric::cuda::multiprocessors(stream.device().ordinal());
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Blocks for `items` at `each` a block. Kernels that may get fewer than they need loop over the
/// grid; all others stay far below the limit of 2^31 - 1.
inline unsigned block_count(int64_t items, int64_t each, int64_t most = 0x7fffffff) {
  return static_cast<unsigned>(std::max<int64_t>(1, std::min(ceil_div(items, each), most)));
}

inline bool is_aligned(const void* p, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

/// Device memory for the kernels of one call, from the stream-ordered allocator: it may be freed as
/// soon as they are enqueued. None for 0 bytes.
class Scratch {
 public:
  Scratch(Stream& stream, size_t bytes)
      : allocator_(stream.device().allocator()),
        block_(bytes > 0 ? allocator_.allocate(bytes, stream) : nullptr) {}
  ~Scratch() {
    if (block_ != nullptr) allocator_.free(block_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <typename T>
  T* as() const {
    return block_ != nullptr ? static_cast<T*>(block_->ptr) : nullptr;
  }

 private:
  fabric::Allocator& allocator_;
  fabric::Block* block_;
};

}  // namespace weft::cuda
