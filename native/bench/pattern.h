// What the ranks of a benchmark reduce, and whether a result is right: small whole numbers, whose
// sums every dtype holds exactly in any order, in a pattern with a prime period, so that a misplaced
// piece shows. Staged through host memory piece by piece. Used by reduce_bench.cc.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/tensor.h"

namespace weft::bench {

class SumPattern {
 public:
  /// Throws DtypeError for dtypes that it does not know: f32, f16, bf16 and f64 are known.
  SumPattern(DType dtype, int ranks);

  /// Fills `bytes` of the device's memory with rank `rank`'s input. Blocks until done.
  void fill(Device& device, int rank, void* memory, size_t bytes);
  /// Overwrites with bytes that are no right result. Blocks until done.
  static void spoil(Device& device, void* memory, size_t bytes);
  /// Elements of `bytes` of the device's memory that are not the sum over all ranks, or rank `rank`'s
  /// input, from its element `first` on. Blocks.
  uint64_t wrong(Device& device, const void* memory, size_t bytes, size_t first = 0, int rank = -1);

 private:
  const std::vector<char>& table(int rank);

  DType dtype_;
  int ranks_;
  std::map<int, std::vector<char>> tables_;  // by rank, -1: the sums; one period and one piece
};

/// Blocks until the device's compute stream is idle; throws after a minute.
void drain(Device& device);

}  // namespace weft::bench
