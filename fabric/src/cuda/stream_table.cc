// See stream_table.h.
#include "cuda/stream_table.h"

#include <mutex>

#include "fabric/error.h"

namespace fabric::cuda {

void StreamTable::add(cudaStream_t stream, int ordinal) {
  std::lock_guard lock(mutex_);
  ordinals_[stream] = ordinal;
}

void StreamTable::remove(cudaStream_t stream) {
  std::lock_guard lock(mutex_);
  ordinals_.erase(stream);
}

int StreamTable::ordinal_of(cudaStream_t stream) const {
  std::shared_lock lock(mutex_);
  auto it = ordinals_.find(stream);
  if (it == ordinals_.end()) {
    fail(ErrorCode::kUsage, "this stream was not made by the cuda driver");
  }
  return it->second;
}

}  // namespace fabric::cuda
