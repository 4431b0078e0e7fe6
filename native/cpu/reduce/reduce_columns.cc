// The loops behind reduce_columns.h. A task is a block of up to 256 columns over a chunk of rows;
// chunks meet in order afterwards. Their borders depend on the shape alone.
#include "cpu/reduce/reduce_columns.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "cpu/elementwise/lane_arithmetic.h"
#include "cpu/elementwise/odometer.h"
#include "cpu/reduce/reduce_tile.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

constexpr int64_t kBlock = 256;    // columns: accumulators stay in the first-level cache
constexpr int64_t kFlush = 128;    // rows added up in the lane's type before they go to f64
constexpr int64_t kMaxTasks = 64;  // enough for any machine; bounds the memory for partial results

/// acc[c] = acc[c] op x[r * stride + c] for `rows` rows of n columns; stride in bytes.
using AddRows = void (*)(void* acc, const char* x, int64_t stride, int64_t rows, int64_t n);

template <typename T, typename F>
void add_rows(void* to, const char* x, int64_t stride, int64_t rows, int64_t n, F f) {
  auto* __restrict acc = static_cast<T*>(to);
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    auto* __restrict row = reinterpret_cast<const T*>(x);
    for (int64_t c = 0; c < n; ++c) acc[c] = f(acc[c], row[c]);
  }
}

template <typename T>
AddRows pick(ReduceKind kind) {
#define WEFT_ROWS(expression)                                                     \
  return [](void* acc, const char* x, int64_t stride, int64_t rows, int64_t n) {  \
    add_rows<T>(acc, x, stride, rows, n, [](T a, T v) { return T(expression); }); \
  }
  switch (kind) {
    case ReduceKind::kSum:
    case ReduceKind::kMean:
      WEFT_ROWS(lane::add(a, v));
    case ReduceKind::kSumSquares:
      WEFT_ROWS(lane::add(a, lane::mul(v, v)));
    case ReduceKind::kMax:
      WEFT_ROWS(lane::maximum(a, v));
    case ReduceKind::kMin:
      WEFT_ROWS(lane::minimum(a, v));
    default:
      return nullptr;
  }
#undef WEFT_ROWS
}

struct Columns {
  const ReduceArgs& args;
  LaneType lane;
  AddRows add;
  LoadFn load;  // nullptr: rows are of the lane's type
  int64_t in_bytes;
  int64_t kept_bytes[kMaxDims];
  int64_t reduced_bytes[kMaxDims];
};

/// Moves the block's accumulators, which cover `rows` rows, into the partial results.
template <typename T>
void flush(ReduceKind kind, LaneType lane, const T* acc, int64_t rows, int64_t n, Partial* out) {
  for (int64_t c = 0; c < n; ++c) {
    Partial p;
    p.count = rows;
    if constexpr (std::is_integral_v<T>) {
      p.integer = acc[c];
    } else {
      p.value = acc[c];
    }
    combine(kind, lane, p, out[c]);
  }
}

/// Rows [begin, end) of n columns that start at `base` into out[0..n).
template <typename T>
void reduce_block(const Columns& w, char* base, int64_t n, int64_t begin, int64_t end,
                  Partial* out) {
  const ReduceKind kind = w.args.kind;
  const bool extremum = kind == ReduceKind::kMax || kind == ReduceKind::kMin;
  Odometer at(w.args.reduced_dims, w.args.reduced_shape, w.reduced_bytes, base, begin);
  alignas(64) T acc[kBlock];
  alignas(64) T row[kBlock];
  auto as_lane = [&](const char* p) -> const char* {
    if (w.load == nullptr) return p;
    w.load(row, p, w.in_bytes, n);
    return reinterpret_cast<const char*>(row);
  };
  while (begin < end) {
    const int64_t rows = std::min(kFlush, end - begin);
    if (extremum) {
      std::copy_n(reinterpret_cast<const T*>(as_lane(at.ptr())), n, acc);
    } else {
      std::fill_n(acc, n, T(0));
    }
    for (int64_t left = rows; left > 0;) {
      int64_t piece = w.load == nullptr ? std::min(left, at.row_left()) : 1;
      w.add(acc, as_lane(at.ptr()), w.reduced_bytes[0], piece, n);
      at.advance(piece);
      left -= piece;
    }
    flush<T>(kind, w.lane, acc, rows, n, out);
    begin += rows;
  }
}

template <typename T>
void run(const Columns& w) {
  const ReduceArgs& args = w.args;
  const int64_t width = args.kept_shape[0];
  const int64_t blocks_a_row = (width + kBlock - 1) / kBlock;
  const int64_t blocks = blocks_a_row * (args.kept_count / width);
  const int64_t rows = args.reduced_count;
  int64_t chunks = std::max<int64_t>(1, std::min(kMaxTasks / blocks, rows / (2 * kFlush)));
  const int64_t chunk_rows = ((rows + chunks - 1) / chunks + kFlush - 1) / kFlush * kFlush;
  chunks = (rows + chunk_rows - 1) / chunk_rows;

  std::vector<Partial> scratch(chunks > 1 ? static_cast<size_t>(blocks * chunks * kBlock) : 0);
  auto each = [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task / chunks, chunk = task % chunks;
      const int64_t column = block % blocks_a_row * kBlock;
      const int64_t n = std::min(kBlock, width - column);
      const int64_t first = block / blocks_a_row * width + column;
      Odometer kept(args.kept_dims, args.kept_shape, w.kept_bytes,
                    const_cast<char*>(static_cast<const char*>(args.in)), first);
      Partial local[kBlock];
      Partial* out = chunks > 1 ? &scratch[static_cast<size_t>(task * kBlock)] : local;
      reduce_block<T>(w, kept.ptr(), n, chunk * chunk_rows,
                      std::min(rows, (chunk + 1) * chunk_rows), out);
      if (chunks == 1) store_results(args, w.lane, first, local, n);
    }
  };
  const int64_t tasks = blocks * chunks;
  const int64_t grain = std::max<int64_t>(1, 32768 / (std::min(width, kBlock) * chunk_rows));
  if (tasks <= grain) {
    each(0, tasks);
  } else {
    fabric::host::parallel_for(tasks, grain, each);
  }
  if (chunks == 1) return;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t column = block % blocks_a_row * kBlock;
    const int64_t n = std::min(kBlock, width - column);
    Partial* total = &scratch[static_cast<size_t>(block * chunks * kBlock)];
    for (int64_t chunk = 1; chunk < chunks; ++chunk)
      for (int64_t c = 0; c < n; ++c)
        combine(args.kind, w.lane, total[chunk * kBlock + c], total[c]);
    store_results(args, w.lane, block / blocks_a_row * width + column, total, n);
  }
}

}  // namespace

bool columns_apply(const ReduceArgs& args) {
  return args.kept_dims > 0 && args.kept_strides[0] == 1 && args.kept_shape[0] >= 8 &&
         args.reduced_dims > 0 && args.reduced_count > 1 && args.reduced_strides[0] != 1 &&
         pick<float>(args.kind) != nullptr;
}

void reduce_columns(const ReduceArgs& args, LaneType lane) {
  Columns w{args, lane, nullptr, nullptr, static_cast<int64_t>(dtype_bytes(args.in_dtype)), {}, {}};
  if (args.in_dtype != lane_dtype(lane)) w.load = load_fn(lane, args.in_dtype);
  for (int d = 0; d < args.kept_dims; ++d) w.kept_bytes[d] = args.kept_strides[d] * w.in_bytes;
  for (int d = 0; d < args.reduced_dims; ++d)
    w.reduced_bytes[d] = args.reduced_strides[d] * w.in_bytes;
  switch (lane) {
    case LaneType::kF32:
      w.add = pick<float>(args.kind);
      return run<float>(w);
    case LaneType::kF64:
      w.add = pick<double>(args.kind);
      return run<double>(w);
    case LaneType::kI64:
      w.add = pick<int64_t>(args.kind);
      return run<int64_t>(w);
  }
}

}  // namespace weft::cpu
