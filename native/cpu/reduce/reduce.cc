// Reductions of the host driver: picks the lane and the loop, and reduces each output's run tile by
// tile (any strides). Long runs of few outputs are cut in chunks whose borders depend on the shape
// alone. Called through the kernel table; reductions over outer dimensions are in
// reduce_columns.cc.
#include <algorithm>
#include <vector>

#include "cpu/elementwise/odometer.h"
#include "cpu/reduce/reduce_columns.h"
#include "cpu/reduce/reduce_tile.h"
#include "cpu/register.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

constexpr int64_t kGrain = 32768;  // elements of a task
constexpr int64_t kMaxChunks = 64;

struct Runs {
  ReduceArgs args;
  LaneType lane;
  TileReduce reduce;
  LoadFn load;
  int64_t in_bytes;
  int64_t kept_bytes[kMaxDims];
  int64_t reduced_bytes[kMaxDims];
};

/// Elements [begin, end) of the run that starts at `base`.
Partial reduce_run(const Runs& w, char* base, int64_t begin, int64_t end) {
  const ReduceArgs& args = w.args;
  const bool same_type = args.in_dtype == lane_dtype(w.lane);
  const int64_t stride = args.reduced_dims > 0 ? w.reduced_bytes[0] : w.in_bytes;
  Odometer at(args.reduced_dims, args.reduced_shape, w.reduced_bytes, base, begin);
  alignas(64) char block[kReduceTile * 8];
  Partial result;
  while (begin < end) {
    int64_t n = std::min(kReduceTile, end - begin);
    if (same_type && stride == w.in_bytes && n <= at.row_left()) {
      w.reduce(at.ptr(), n, begin, result);
      at.advance(n);
    } else {
      // A tile may span several rows: short rows cost a copy, not a call of the reducer each.
      for (int64_t filled = 0; filled < n;) {
        int64_t piece = std::min(n - filled, at.row_left());
        w.load(block + filled * lane_bytes(w.lane), at.ptr(), stride, piece);
        at.advance(piece);
        filled += piece;
      }
      w.reduce(block, n, begin, result);
    }
    begin += n;
  }
  return result;
}

void reduce_outputs(const Runs& w, int64_t begin, int64_t end) {
  constexpr int64_t kBatch = 64;
  Partial results[kBatch];
  Odometer kept(w.args.kept_dims, w.args.kept_shape, w.kept_bytes,
                const_cast<char*>(static_cast<const char*>(w.args.in)), begin);
  for (int64_t at = begin; at < end; at += kBatch) {
    const int64_t n = std::min(kBatch, end - at);
    for (int64_t i = 0; i < n; ++i) {
      results[i] = reduce_run(w, kept.ptr(), 0, w.args.reduced_count);
      kept.advance(1);
    }
    store_results(w.args, w.lane, at, results, n);
  }
}

void reduce_long_runs(const Runs& w, int64_t chunks) {
  const int64_t count = w.args.reduced_count;
  const int64_t length =
      ((count + chunks - 1) / chunks + kReduceTile - 1) / kReduceTile * kReduceTile;
  chunks = (count + length - 1) / length;
  std::vector<Partial> partials(static_cast<size_t>(w.args.kept_count * chunks));
  fabric::host::parallel_for(w.args.kept_count * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t chunk = task % chunks;
      Odometer kept(w.args.kept_dims, w.args.kept_shape, w.kept_bytes,
                    const_cast<char*>(static_cast<const char*>(w.args.in)), task / chunks);
      partials[static_cast<size_t>(task)] =
          reduce_run(w, kept.ptr(), chunk * length, std::min(count, (chunk + 1) * length));
    }
  });
  for (int64_t i = 0; i < w.args.kept_count; ++i) {
    Partial* total = &partials[static_cast<size_t>(i * chunks)];
    for (int64_t c = 1; c < chunks; ++c) combine(w.args.kind, w.lane, total[c], total[0]);
    store_results(w.args, w.lane, i, total, 1);
  }
}

void run(const Runs& w) {
  const ReduceArgs& args = w.args;
  if (columns_apply(args)) return reduce_columns(args, w.lane);
  const int64_t chunks = std::min(kMaxChunks, args.reduced_count / kGrain);
  if (args.kept_count < kMaxChunks && chunks > 1) return reduce_long_runs(w, chunks);
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, args.reduced_count));
  if (args.kept_count <= grain) return reduce_outputs(w, 0, args.kept_count);
  fabric::host::parallel_for(args.kept_count, grain,
                             [&](int64_t begin, int64_t end) { reduce_outputs(w, begin, end); });
}

}  // namespace

void reduce(const ReduceArgs& args, Stream& stream) {
  if (args.kept_count == 0) return;
  if (args.kind == ReduceKind::kArgMax && args.out_dtype != DType::kI64)
    fail(ErrorCode::kDtype, "argmax writes i64, not %s", dtype_name(args.out_dtype));
  Runs w{};
  w.args = args;
  // Variances of integers are not integers.
  w.lane = args.kind == ReduceKind::kVar && lane_of(args.in_dtype) == LaneType::kI64
               ? LaneType::kF64
               : lane_of(args.in_dtype);
  w.reduce = tile_reduce(args.kind, w.lane);
  w.load = load_fn(w.lane, args.in_dtype);
  w.in_bytes = static_cast<int64_t>(dtype_bytes(args.in_dtype));
  for (int d = 0; d < args.kept_dims; ++d) w.kept_bytes[d] = args.kept_strides[d] * w.in_bytes;
  for (int d = 0; d < args.reduced_dims; ++d)
    w.reduced_bytes[d] = args.reduced_strides[d] * w.in_bytes;
  fabric::host::enqueue(stream.handle(), [w] { run(w); });
}

}  // namespace weft::cpu
