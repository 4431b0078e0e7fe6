// Which kernel of the menu multiplies a shape: measured at first use, remembered in memory and on
// disk. Called by gemm.cc for each product that the menu can take.
#pragma once

#include "cuda/gemm_menu.h"
#include "dispatch/kernels.h"

namespace weft::cuda {

struct GemmChoice {
  const GemmKernel* kernel = nullptr;  ///< nullptr: the menu has none for this device and layout
  int splits = 1;
  int swizzle = 1;
};

/// What a product asks of the menu, sizes aside.
struct GemmKind {
  DType dtype;
  GemmLayout layout;
  GemmEpilogue epilogue;
};

/// Without a lock once this thread has asked for the shape. The first ask of the process may
/// measure: it writes p.c (and p.before) with right results, blocks for some milliseconds, and
/// happens neither in a capture nor with WEFT_GEMM_TUNE=0, where an estimate serves. p.beta != 0 is
/// never measured.
GemmChoice choose_gemm(const GemmKind& kind, const GemmProblem& p, Stream& stream);

/// The estimate alone.
GemmChoice estimate_gemm(const GemmKind& kind, const GemmProblem& p, const Device& device);

/// Runs `choice` on `stream`, with its workspace from the device's allocator.
void launch_gemm(const GemmChoice& choice, const GemmProblem& p, Stream& stream);

/// Kernels for `kind` that run on `device`, best default first.
struct GemmCandidates {
  static constexpr int kMost = 48;
  GemmChoice at[kMost];
  int count = 0;
};
GemmCandidates gemm_candidates(const GemmKind& kind, const GemmProblem& p, const Device& device);

}  // namespace weft::cuda
