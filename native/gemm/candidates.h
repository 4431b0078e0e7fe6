// Which kernels of a menu can take a product on a GPU, and which of them is likely the fastest: a
// fixed function of shape, kind and GPU, which reads no clock and no file. book.cc calls it.
#pragma once

#include "gemm/menu.h"

namespace weft {

/// Ways to multiply one product, best default first.
struct GemmCandidates {
  static constexpr int kMost = 48;
  GemmChoice at[kMost];
  int count = 0;

  /// Is `choice` one of them?
  bool hold(const GemmChoice& choice) const;
};

GemmCandidates gemm_candidates(GemmMenu menu, const GemmKind& kind, const GemmSizes& sizes,
                               const GemmGpu& gpu);

/// The one with the least estimated time; the first of equals. It never leaves the split of k to
/// the kernel. A choice without a kernel when there is no candidate.
GemmChoice estimate_gemm(const GemmCandidates& candidates, const GemmSizes& sizes,
                         const GemmGpu& gpu);

}  // namespace weft
