// Which GPU each stream of the driver belongs to. Calls that get a bare StreamHandle ask it before
// they make that GPU current. Written when streams are made and destroyed, read on every enqueue:
// hence a lock that readers share.
#pragma once

#include <cuda_runtime_api.h>

#include <shared_mutex>
#include <unordered_map>

namespace fabric::cuda {

class StreamTable {
 public:
  void add(cudaStream_t stream, int ordinal);
  void remove(cudaStream_t stream);
  /// Throws UsageError for a stream that the driver did not make.
  int ordinal_of(cudaStream_t stream) const;

 private:
  mutable std::shared_mutex mutex_;  // guards ordinals_
  std::unordered_map<cudaStream_t, int> ordinals_;
};

}  // namespace fabric::cuda
