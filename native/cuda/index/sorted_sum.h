// Sums of rows that share a key, in the order of their positions, without atomics: the backward
// passes of embedding and gather. Keys are sorted stably (Satish, Harris & Garland 2009), the
// sorted list is cut in tiles, and runs of one key that cross tiles are put together by a second
// kernel.
#pragma once

#include "cuda/launch.h"

namespace weft::cuda {

/// Sum of rows position -> key: out[key] += in[position], rows of `width` elements.
struct SortedSumArgs {
  DType dtype;
  const void* in;
  void* out;  ///< (keys, width), zero: rows without a position stay so
  int64_t width;
  int64_t keys;   ///< below 2^31
  int64_t count;  ///< positions, below 2^31
};

/// One such sum: make it, let a kernel write keys(), run() it.
class SortedSum {
 public:
  SortedSum(const SortedSumArgs& args, Stream& stream);
  /// A key for each position; args.keys or more where the position takes no part.
  uint32_t* keys() const { return keys_; }
  void run();

 private:
  SortedSumArgs args_;
  cudaStream_t stream_;
  int end_bit_;
  size_t list_bytes_, sort_bytes_;
  Scratch scratch_;
  uint32_t *keys_, *sorted_keys_, *positions_, *sorted_positions_;
  char *sort_memory_, *partials_;
};

}  // namespace weft::cuda
