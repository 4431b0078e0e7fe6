// attention_backward: gradients of q, k and v. Called through the kernel table. Probabilities are
// made again from q, k and the stored log-sum-exp, tile by tile (Dao et al. 2022). Where there are
// heads enough to keep threads busy, one task takes a head and makes each tile once; else queries
// and keys are split in two passes that make each tile twice. Which one, and every order of
// addition, depends on shape alone.
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

// From here on one task a head is enough.
constexpr int64_t kManyHeads = 16;

// Where the gradients of a task go: dense f32 or f64 sums, null where this pass does not make them.
template <typename T>
struct Sums {
  T* q;  // of the tile's queries
  T* k;  // of the tile's keys
  T* v;
};

// A block of queries of one head with what every tile of it needs.
template <typename T>
struct Queries {
  int64_t first, rows;
  Matrix<T> q, grad_out;
  T lse[kQueryRows];
  T dot[kQueryRows];  // grad_out · out, a row: the sum that softmax's gradient subtracts
};

// The stored log-sum-exp is f32: not enough for gradients in f64, which take it again.
template <typename T>
T row_lse(const AttentionArgs& args, int64_t head, int64_t row, const T* q) {
  if constexpr (std::is_same_v<T, double>) {
    const int64_t visible = visible_keys(args, row);
    if (visible == 0) return -std::numeric_limits<T>::infinity();
    T* score = thread_scratch<T>(6, visible);
    const auto k = head_rows<T>(args, args.k, args.k_stride, head, 0, visible, nullptr);
    multiply(false, true, 1, visible, args.width, args.scale, q, args.width, k.data, k.ld, T(0),
             score, visible);
    const T top = lane_max(score, visible);
    return top + std::log(exp_sum(score, top, visible));
  } else {
    return args.lse[head * args.q_len + row];
  }
}

template <typename T>
Queries<T> read_queries(const AttentionArgs& args, int64_t head, int64_t first) {
  Queries<T> block;
  block.first = first;
  block.rows = std::min(kQueryRows, args.q_len - first);
  const int64_t rows = block.rows, width = args.width, area = kQueryRows * width;
  T* scratch = thread_scratch<T>(0, 3 * area);
  block.q = head_rows<T>(args, args.q, args.q_stride, head, first, rows, scratch);
  block.grad_out =
      head_rows<T>(args, args.grad_out, args.grad_out_stride, head, first, rows, scratch + area);
  const auto out =
      head_rows<T>(args, args.out, args.out_stride, head, first, rows, scratch + 2 * area);
  for (int64_t r = 0; r < rows; ++r) {
    const T *g = block.grad_out.data + r * block.grad_out.ld, *o = out.data + r * out.ld;
    block.dot[r] = lane_dot(width, g, o);
    block.lse[r] = row_lse(args, head, first + r, block.q.data + r * block.q.ld);
  }
  return block;
}

// Adds the tile (block x keys first..first+columns-1) to `sums`.
template <typename T>
void add_tile(const AttentionArgs& args, const Queries<T>& block, Matrix<T> k, Matrix<T> v,
              int64_t first, int64_t columns, const Sums<T>& sums) {
  const int64_t rows = block.rows, width = args.width;
  T* p = thread_scratch<T>(3, 2 * kQueryRows * kKeyColumns);
  T* ds = p + kQueryRows * kKeyColumns;
  const T scale = static_cast<T>(args.scale);
  multiply(false, true, rows, columns, width, scale, block.q.data, block.q.ld, k.data, k.ld, T(0),
           p, columns);
  multiply(false, true, rows, columns, width, T(1), block.grad_out.data, block.grad_out.ld, v.data,
           v.ld, T(0), ds, columns);
  for (int64_t r = 0; r < rows; ++r) {
    T *pr = p + r * columns, *dr = ds + r * columns;
    const T lse = block.lse[r], dot = block.dot[r];
    const bool blind = lse == -std::numeric_limits<T>::infinity();  // sees no key
    const int64_t seen =
        blind ? 0 : std::clamp<int64_t>(visible_keys(args, block.first + r) - first, 0, columns);
    for (int64_t j = 0; j < seen; ++j) {
      pr[j] = math::exp(pr[j] - lse);
      dr[j] = pr[j] * (dr[j] - dot) * scale;
    }
    for (int64_t j = seen; j < columns; ++j) pr[j] = dr[j] = 0;
  }
  if (sums.v)
    multiply(true, false, columns, width, rows, T(1), p, columns, block.grad_out.data,
             block.grad_out.ld, T(1), sums.v, width);
  if (sums.k)
    multiply(true, false, columns, width, rows, T(1), ds, columns, block.q.data, block.q.ld, T(1),
             sums.k, width);
  if (sums.q)
    multiply(false, false, rows, width, columns, T(1), ds, columns, k.data, k.ld, T(1), sums.q,
             width);
}

// Queries q0..q1-1 against keys k0..k1-1 of one head; writes the gradients that are asked for.
template <typename T>
void task(const AttentionArgs& args, int64_t head, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
          bool want_queries, bool want_keys) {
  const int64_t keys = k1 - k0, width = args.width;
  T* narrow = thread_scratch<T>(1, 2 * keys * width);
  const auto k = head_rows<T>(args, args.k, args.k_stride, head, k0, keys, narrow);
  const auto v = head_rows<T>(args, args.v, args.v_stride, head, k0, keys, narrow + keys * width);
  T* sums = thread_scratch<T>(2, (kQueryRows + 2 * keys) * width);
  T* key_sums = sums + kQueryRows * width;
  const Sums<T> base{.q = want_queries && args.grad_q ? sums : nullptr,
                     .k = want_keys && args.grad_k ? key_sums : nullptr,
                     .v = want_keys && args.grad_v ? key_sums + keys * width : nullptr};
  std::fill(key_sums, key_sums + 2 * keys * width, T(0));
  for (int64_t first = q0; first < q1; first += kQueryRows) {
    const int64_t seen = visible_keys(args, std::min(first + kQueryRows, q1) - 1);
    std::fill(sums, sums + kQueryRows * width, T(0));
    const bool any = seen > k0;
    if (any) {
      const auto block = read_queries<T>(args, head, first);
      for (int64_t at = k0; at < std::min(k1, seen); at += kKeyColumns) {
        const int64_t columns = std::min(kKeyColumns, std::min(k1, seen) - at), row = at - k0;
        const Sums<T> to{base.q, base.k ? base.k + row * width : nullptr,
                         base.v ? base.v + row * width : nullptr};
        add_tile(args, block, {k.data + row * k.ld, k.ld}, {v.data + row * v.ld, v.ld}, at, columns,
                 to);
      }
    }
    if (base.q)
      store_head_rows(args, args.grad_q, args.grad_q_stride, head, first,
                      std::min(kQueryRows, q1 - first), base.q);
  }
  if (base.k) store_head_rows(args, args.grad_k, args.grad_k_stride, head, k0, keys, base.k);
  if (base.v) store_head_rows(args, args.grad_v, args.grad_v_stride, head, k0, keys, base.v);
}

template <typename T>
void run(const AttentionArgs& args) {
  const int64_t heads = args.batch * args.heads;
  if (heads >= kManyHeads || args.q_len <= kQueryRows) {
    const int64_t grain = rows_per_chunk(2 * args.q_len * args.kv_len);
    fabric::host::parallel_for(heads, grain, [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head)
        task<T>(args, head, 0, args.q_len, 0, args.kv_len, true, true);
    });
    return;
  }
  if (args.grad_q) {
    const int64_t blocks = (args.q_len + kQueryRows - 1) / kQueryRows;
    fabric::host::parallel_for(heads * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t q0 = i % blocks * kQueryRows;
        task<T>(args, i / blocks, q0, std::min(q0 + kQueryRows, args.q_len), 0, args.kv_len, true,
                false);
      }
    });
  }
  if (args.grad_k || args.grad_v) {
    constexpr int64_t kKeys = 128;
    const int64_t blocks = (args.kv_len + kKeys - 1) / kKeys;
    fabric::host::parallel_for(heads * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t k0 = i % blocks * kKeys;
        task<T>(args, i / blocks, 0, args.q_len, k0, std::min(k0 + kKeys, args.kv_len), false,
                true);
      }
    });
  }
}

}  // namespace

void attention_backward(const AttentionArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "attention", [&](auto zero) {
    using T = decltype(zero);
    fabric::host::enqueue(stream.handle(), [args] { run<T>(args); });
  });
}

}  // namespace weft::cpu
