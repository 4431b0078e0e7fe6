// Which kernel of the menu multiplies a shape on a device, and its launch. What a process decided
// lies in gemm/book.h, how it decides in gemm/policy.h; here is the fast path and the measurement.
// Called by gemm.cc for each product that the menu can take.
#pragma once

#include <vector>

#include "cuda/gemm/kernel_menu.h"
#include "dispatch/kernels.h"
#include "gemm/candidates.h"

namespace weft::cuda {

/// The kernels compiled into this build, in the order in which choices are tried.
std::vector<const GemmRow*> built_gemm_menu();

/// Without a lock once this thread has asked for the shape. Where the policy measures, the first
/// ask of the process may: it writes p.c (and p.before) with right results, blocks for some
/// milliseconds, and happens neither in a capture nor with WEFT_GEMM_TUNE=0, where an estimate
/// serves. p.beta != 0 is never measured.
GemmChoice choose_gemm(const GemmKind& kind, const GemmProblem& p, Stream& stream);

/// Runs `choice` on `stream`, with its workspace from the device's allocator.
void launch_gemm(const GemmChoice& choice, const GemmProblem& p, Stream& stream);

inline GemmSizes sizes_of(const GemmProblem& p) { return {p.m, p.n, p.k, p.batch}; }

}  // namespace weft::cuda
