// gemm_candidates and estimate_gemm: see candidates.h. Deterministic runs rest on these alone: a
// change here changes their bits.
#include "gemm/candidates.h"

#include <algorithm>
#include <limits>
#include <string_view>

namespace weft {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Names begin with the architecture: "sm90_", "sm100_" (10.0 and 10.3 alike).
bool runs_on(const GemmRow& kernel, const GemmGpu& gpu) {
  const std::string_view name = kernel.name;
  if (gpu.capability_major == 9) return name.starts_with("sm90_");
  return gpu.capability_major == 10 && name.starts_with("sm100_");
}

int64_t tiles_of(const GemmRow& kernel, const GemmSizes& s) {
  return ceil_div(s.m, kernel.tile_m) * ceil_div(s.n, kernel.tile_n) * s.batch;
}

/// Relative rate of a full device: larger tiles read less for each product.
double tile_rate(const GemmRow& kernel) {
  const double m = kernel.tile_m, n = kernel.tile_n;
  return 1.0 / (1.0 + 40.0 * (1.0 / m + 1.0 / n));
}

/// Time in units of one full-rate multiply-add column; only the order matters.
double estimate(const GemmChoice& choice, const GemmSizes& s, int multiprocessors) {
  const GemmRow& kernel = *choice.kernel;
  const int splits = std::max(choice.splits, 1);
  const int64_t waves = ceil_div(tiles_of(kernel, s) * splits, multiprocessors);
  constexpr double kStart = 320;  // filling the pipeline and storing a tile, in steps of k
  const double area = static_cast<double>(kernel.tile_m) * kernel.tile_n;
  const double depth = static_cast<double>(ceil_div(s.k, splits)) + kStart * (splits > 1 ? 2 : 1);
  return static_cast<double>(waves) * area * depth / tile_rate(kernel);
}

}  // namespace

bool GemmCandidates::hold(const GemmChoice& choice) const {
  return std::find(at, at + count, choice) != at + count;
}

GemmCandidates gemm_candidates(GemmMenu menu, const GemmKind& kind, const GemmSizes& s,
                               const GemmGpu& gpu) {
  GemmCandidates out;
  auto add = [&](const GemmRow& kernel, int splits, int swizzle = 1) {
    if (out.count < GemmCandidates::kMost) out.at[out.count++] = {&kernel, splits, swizzle};
  };
  for (const GemmRow* row : menu) {
    const GemmRow& kernel = *row;
    if (kernel.kind() != kind || !runs_on(kernel, gpu)) continue;
    if (kernel.least_splits == 1) add(kernel, 1);
    const int64_t tiles = tiles_of(kernel, s);
    // Many waves: the order of the tiles decides what of A and B the cache still holds.
    if (tiles >= 4 * gpu.multiprocessors && kernel.least_splits == 1) {
      for (int swizzle = 2; swizzle <= 8; swizzle *= 2) add(kernel, 1, swizzle);
    }
    if (!kernel.can_split) continue;
    // Few tiles and a deep k: blocks share a tile's k. 0 leaves the cut to the kernel.
    if (tiles >= 4 * gpu.multiprocessors || s.k < 1024) continue;
    if (kernel.least_splits == 1) add(kernel, 0);
    for (int splits = 2; splits <= 16 && tiles * splits <= 2 * gpu.multiprocessors; splits *= 2) {
      if (s.k / splits >= 512) add(kernel, splits);
    }
  }
  return out;
}

GemmChoice estimate_gemm(const GemmCandidates& candidates, const GemmSizes& s, const GemmGpu& gpu) {
  GemmChoice best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < candidates.count; ++i) {
    if (candidates.at[i].splits == 0 || candidates.at[i].swizzle > 1) continue;
    const double cost = estimate(candidates.at[i], s, gpu.multiprocessors);
    if (cost < least) least = cost, best = candidates.at[i];
  }
  return best;
}

}  // namespace weft
