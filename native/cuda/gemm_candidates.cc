// What of the menu can take a product on a device, how it is likely to do, and its launch. Used by
// gemm_choice.cc, which measures, and directly where measuring is not allowed.
#include <algorithm>
#include <limits>

#include "cuda/gemm_choice.h"
#include "fabric/allocator.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

using GemmFile = GemmKernels (*)();
constexpr GemmFile kFiles[] = {
#define WEFT_GEMM_FILE(name) name,
#include "cuda/gemm_menu.def"
#undef WEFT_GEMM_FILE
    nullptr,  // a build without device code for the menu has no other entry
};

/// Names begin with the architecture: "sm90_", "sm100_" (10.0 and 10.3 alike).
bool runs_on(const GemmKernel& kernel, const Device& device) {
  const int major = device.properties().capability_major;
  const std::string_view name = kernel.name;
  if (major == 9) return name.starts_with("sm90_");
  return major == 10 && name.starts_with("sm100_");
}

int64_t tiles_of(const GemmKernel& kernel, const GemmProblem& p) {
  return ceil_div(p.m, kernel.tile_m) * ceil_div(p.n, kernel.tile_n) * p.batch;
}

/// Relative rate of a full device: larger tiles read less for each product.
double tile_rate(const GemmKernel& kernel) {
  const double m = kernel.tile_m, n = kernel.tile_n;
  return 1.0 / (1.0 + 40.0 * (1.0 / m + 1.0 / n));
}

/// Time in units of one full-rate multiply-add column; only the order matters.
double estimate(const GemmChoice& choice, const GemmProblem& p, int multiprocessors) {
  const GemmKernel& kernel = *choice.kernel;
  const int splits = std::max(choice.splits, 1);
  const int64_t waves = ceil_div(tiles_of(kernel, p) * splits, multiprocessors);
  constexpr double kStart = 320;  // filling the pipeline and storing a tile, in steps of k
  const double area = static_cast<double>(kernel.tile_m) * kernel.tile_n;
  const double depth = static_cast<double>(ceil_div(p.k, splits)) + kStart * (splits > 1 ? 2 : 1);
  return static_cast<double>(waves) * area * depth / tile_rate(kernel);
}

}  // namespace

GemmCandidates gemm_candidates(const GemmKind& kind, const GemmProblem& p, const Device& device) {
  GemmCandidates out;
  const int multiprocessors = device.properties().multiprocessors;
  auto add = [&](const GemmKernel& kernel, int splits, int swizzle = 1) {
    if (out.count < GemmCandidates::kMost) out.at[out.count++] = {&kernel, splits, swizzle};
  };
  for (GemmFile file : kFiles) {
    if (file == nullptr) break;
    for (const GemmKernel& kernel : file()) {
      if (kernel.dtype != kind.dtype || kernel.layout != kind.layout ||
          kernel.epilogue != kind.epilogue || !runs_on(kernel, device)) {
        continue;
      }
      add(kernel, 1);
      const int64_t tiles = tiles_of(kernel, p);
      // Many waves: the order of the tiles decides what of A and B the cache still holds.
      if (tiles >= 4 * multiprocessors) {
        for (int swizzle = 2; swizzle <= 8; swizzle *= 2) add(kernel, 1, swizzle);
      }
      if (!kernel.can_split) continue;
      // Few tiles and a deep k: blocks share a tile's k. 0 leaves the cut to the kernel.
      if (tiles >= 4 * multiprocessors || p.k < 1024) continue;
      add(kernel, 0);
      for (int splits = 2; splits <= 16 && tiles * splits <= 2 * multiprocessors; splits *= 2) {
        if (p.k / splits >= 512) add(kernel, splits);
      }
    }
  }
  return out;
}

GemmChoice estimate_gemm(const GemmKind& kind, const GemmProblem& p, const Device& device) {
  const GemmCandidates candidates = gemm_candidates(kind, p, device);
  GemmChoice best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < candidates.count; ++i) {
    if (candidates.at[i].splits == 0 || candidates.at[i].swizzle > 1) continue;
    const double cost = estimate(candidates.at[i], p, device.properties().multiprocessors);
    if (cost < least) least = cost, best = candidates.at[i];
  }
  return best;
}

void launch_gemm(const GemmChoice& choice, const GemmProblem& p, Stream& stream) {
  Device& device = stream.device();
  const int ordinal = device.ordinal();
  const GemmSetting setting{ordinal, fabric::cuda::multiprocessors(ordinal), choice.splits,
                            choice.swizzle};
  fabric::Block* block = nullptr;
  // Kernels that never split need none, and asking costs.
  if (choice.kernel->can_split) {
    const size_t bytes = choice.kernel->workspace(p, setting);
    if (bytes > 0) block = device.allocator().allocate(bytes, stream);
  }
  const cudaError_t status = choice.kernel->launch(p, setting, block ? block->ptr : nullptr,
                                                   static_cast<cudaStream_t>(stream.handle()));
  if (block) device.allocator().free(block);  // stream-ordered: the kernel may still use it
  fabric::cuda::check(status, choice.kernel->name);
}

}  // namespace weft::cuda
