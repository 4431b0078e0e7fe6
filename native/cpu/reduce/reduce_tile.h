// The inner loops of reductions: a dense tile of lane values into a Partial, and Partials into one.
// Used by reduce.cc (runs of each output) and reduce_columns.cc (many outputs side by side).
//
// Accuracy: a tile sums in 32 interleaved f32 accumulators, tiles and chunks in f64, so the error
// grows with the tile, not with the tensor. Variances combine by Chan, Golub and LeVeque 1979.
#pragma once

#include <cstdint>

#include "cpu/elementwise/convert_block.h"
#include "dispatch/kernels.h"

namespace weft::cpu {

inline constexpr int64_t kReduceTile = 1024;

/// The result over some of the reduced elements.
struct Partial {
  double value = 0;     ///< sum, sum of squares, extremum, or mean (kVar); of floating lanes
  double spread = 0;    ///< kVar: sum of squared deviations from the mean
  int64_t integer = 0;  ///< value, of the integer lane
  int64_t count = 0;    ///< elements so far
  int64_t index = -1;   ///< kArgMax: position of the extremum
};

/// Adds n > 0 values to `into`; `first` is the position of x[0] among the reduced elements.
using TileReduce = void (*)(const void* x, int64_t n, int64_t first, Partial& into);
TileReduce tile_reduce(ReduceKind kind, LaneType lane);

/// Adds `later`, which covers the elements after those of `into`.
void combine(ReduceKind kind, LaneType lane, const Partial& later, Partial& into);

/// Final values in f64 or, for results of the integer lane, i64; see result_lane.
double result_floating(const ReduceArgs& args, LaneType lane, const Partial& p);
int64_t result_integer(const ReduceArgs& args, const Partial& p);
/// The lane that results are stored from.
LaneType result_lane(ReduceKind kind, LaneType lane);

/// Writes `count` results to out[first ...].
void store_results(const ReduceArgs& args, LaneType lane, int64_t first, const Partial* partials,
                   int64_t count);

}  // namespace weft::cpu
