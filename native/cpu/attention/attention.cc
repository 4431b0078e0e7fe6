// attention_forward: softmax(scale q kᵀ) v for each head, optionally causal. Called through the
// kernel table. A task owns a block of queries of one head and holds that block's scores only, so
// memory grows with the sequence and not with its square (Rabe & Staats 2021; Dao et al. 2022).
// Unlike there, a block sees all its keys at once: the row lies in a CPU's cache, which saves the
// rescaling.
#include <cmath>
#include <limits>

#include "cpu/attention/attention_tile.h"
#include "cpu/elementwise/lanes.h"
#include "cpu/elementwise/vector_math.h"
#include "cpu/gemm/blas.h"
#include "cpu/register.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

// Scores of one query to weights, not yet divided by their sum; returns 1 / sum. Columns past
// `visible` become 0. A query that sees no key gives zeros and a log-sum-exp of -infinity.
template <typename T>
T softmax_row(T* score, int64_t visible, int64_t columns, float* lse) {
  for (int64_t j = visible; j < columns; ++j) score[j] = 0;
  const T top = visible > 0 ? lane_max(score, visible) : -std::numeric_limits<T>::infinity();
  if (top == -std::numeric_limits<T>::infinity()) {
    for (int64_t j = 0; j < visible; ++j) score[j] = 0;
    *lse = -std::numeric_limits<float>::infinity();
    return 0;
  }
  const T sum = exp_row(score, top, visible, score);
  *lse = static_cast<float>(top + std::log(sum));
  return T(1) / sum;
}

template <typename T>
void query_block(const AttentionArgs& args, int64_t head, int64_t first) {
  const int64_t rows = std::min(kQueryRows, args.q_len - first), width = args.width;
  const int64_t columns = visible_keys(args, first + rows - 1);
  T* narrow_q = thread_scratch<T>(0, rows * width);
  T* narrow_k = thread_scratch<T>(1, 2 * columns * width);
  const auto q = head_rows<T>(args, args.q, args.q_stride, head, first, rows, narrow_q);
  const auto k = head_rows<T>(args, args.k, args.k_stride, head, 0, columns, narrow_k);
  const auto v =
      head_rows<T>(args, args.v, args.v_stride, head, 0, columns, narrow_k + columns * width);
  T* score = thread_scratch<T>(2, rows * columns);
  T* out = thread_scratch<T>(3, rows * width);
  T inverse[kQueryRows];
  multiply(false, true, rows, columns, width, static_cast<T>(args.scale), q.data, q.ld, k.data,
           k.ld, T(0), score, columns);
  for (int64_t r = 0; r < rows; ++r)
    inverse[r] = softmax_row(score + r * columns, std::min(columns, visible_keys(args, first + r)),
                             columns, args.lse + head * args.q_len + first + r);
  multiply(false, false, rows, width, columns, T(1), score, columns, v.data, v.ld, T(0), out,
           width);
  // Dividing here costs `width` operations a row, not `columns`.
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) out[r * width + i] *= inverse[r];
  store_head_rows(args, args.out, args.out_stride, head, first, rows, out);
}

template <typename T>
void run(const AttentionArgs& args) {
  const int64_t heads = args.batch * args.heads;
  const int64_t blocks = (args.q_len + kQueryRows - 1) / kQueryRows;
  const int64_t cost = std::min(kQueryRows, args.q_len) * args.kv_len;
  fabric::host::parallel_for(heads * blocks, rows_per_chunk(cost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) query_block<T>(args, i / blocks, i % blocks * kQueryRows);
  });
}

}  // namespace

void attention_forward(const AttentionArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "attention", [&](auto zero) {
    using T = decltype(zero);
    fabric::host::enqueue(stream.handle(), [args] { run<T>(args); });
  });
}

}  // namespace weft::cpu
