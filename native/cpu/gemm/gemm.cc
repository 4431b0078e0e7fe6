// gemm: the batched matrix product with its fused epilogue (bias, tanh-GELU, values before the
// activation). Called through the kernel table. Splits the work into blocks whose borders depend on
// the shape alone and multiplies each on one thread (blas.h), so bits do not depend on the thread
// count.
#include <algorithm>
#include <functional>

#include "cpu/elementwise/vector_math.h"
#include "cpu/gemm/blas.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

constexpr double kTaskWork = 1 << 20;  // multiply-adds worth handing to a thread: about 20 µs

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// How one product is cut: `rows` x `columns` blocks, the last of each line smaller.
struct Blocks {
  int64_t rows, columns, down, across;
};

// Large blocks keep the packing that each repeats small beside its arithmetic; even ones keep
// threads equally busy.
Blocks plan(int64_t m, int64_t n, int64_t k) {
  const int64_t side = m * n >= 16 * 512 * 512 ? 512 : 256;
  const double row_work = static_cast<double>(std::min<int64_t>(n, 512)) * std::max<int64_t>(k, 1);
  const int64_t least = static_cast<int64_t>(kTaskWork / row_work) + 1;
  int64_t down = std::max<int64_t>(1, std::min(ceil_div(m, side), m / std::min(least, m)));
  int64_t rows = std::min(m, round_up(ceil_div(m, down), 16));
  int64_t columns = std::min(n, round_up(ceil_div(n, ceil_div(n, 512)), 16));
  return {rows, columns, ceil_div(m, rows), ceil_div(n, columns)};
}

// Batches that differ in A and C alone, and lie there one after the other, are more rows of one
// product.
void fold_batch(GemmArgs& g) {
  if (g.batch_dims != 1 || g.a_transposed || g.b_batch[0] != 0) return;
  if (g.a_batch[0] != g.m * g.lda || g.c_batch[0] != g.m * g.ldc) return;
  g.m *= g.batch_shape[0];
  g.batch_dims = 0;
}

template <typename T>
struct Epilogue {
  const T* bias;  // of the block's first column
  bool gelu;
};

// v (columns) = alpha A·B on entry, act(v + bias) on return; `before` gets the values before act.
template <typename T>
void finish_row(const Epilogue<T>& e, int64_t columns, T* v, T* before) {
  if (e.bias != nullptr)
    for (int64_t j = 0; j < columns; ++j) v[j] += e.bias[j];
  if (before != nullptr) std::copy(v, v + columns, before);
  if constexpr (std::is_floating_point_v<T>) {
    if (e.gelu)
      for (int64_t j = 0; j < columns; ++j) v[j] = math::gelu(v[j]);
  }
}

// op(X) block as the type computed in: rows r0.., columns c0.. of op(X).
template <typename T>
Matrix<T> block_of(DType dtype, const void* base, int64_t offset, bool transposed, int64_t ld,
                   int64_t r0, int64_t rows, int64_t c0, int64_t columns, int slot) {
  if (transposed) {
    std::swap(r0, c0);
    std::swap(rows, columns);
  }
  T* scratch = is_half(dtype) ? thread_scratch<T>(slot, rows * columns) : nullptr;
  return read_matrix(dtype, base, offset + r0 * ld + c0, rows, columns, ld, scratch);
}

template <typename T>
void run(GemmArgs g) {
  fold_batch(g);
  int64_t batches = 1;
  bool b_shared = true;
  for (int d = 0; d < g.batch_dims; ++d) {
    batches *= g.batch_shape[d];
    b_shared = b_shared && (g.b_batch[d] == 0 || g.batch_shape[d] == 1);
  }
  if (g.m == 0 || g.n == 0 || batches == 0) return;
  const Blocks blocks = plan(g.m, g.n, g.k);
  const bool half = is_half(g.dtype);
  const bool gelu = g.activation == Activation::kGelu;
  // C is needed again after the activation: the product then goes to scratch first.
  const bool apart = half || (g.beta != 0 && (gelu || g.pre_activation != nullptr));
  const WholePanel<T> bias(g.dtype, g.bias, g.n);

  // A half B that every task reads is widened once.
  std::unique_ptr<T[]> wide_b;
  if (half && b_shared && batches * blocks.down > 1 && g.k > 0) {
    const int64_t rows = g.b_transposed ? g.n : g.k, columns = g.b_transposed ? g.k : g.n;
    wide_b.reset(new T[static_cast<size_t>(rows * columns)]);
    fabric::host::parallel_for(rows, rows_per_chunk(columns), [&](int64_t begin, int64_t end) {
      read_matrix(g.dtype, g.b, begin * g.ldb, end - begin, columns, g.ldb,
                  wide_b.get() + begin * columns);
    });
  }

  auto task = [&](int64_t index) {
    int64_t batch = index / (blocks.down * blocks.across);
    const int64_t r0 = index / blocks.across % blocks.down * blocks.rows;
    const int64_t c0 = index % blocks.across * blocks.columns;
    const int64_t rows = std::min(blocks.rows, g.m - r0);
    const int64_t columns = std::min(blocks.columns, g.n - c0);
    int64_t a_at = 0, b_at = 0, c_at = r0 * g.ldc + c0;
    for (int d = 0; d < g.batch_dims; ++d) {
      const int64_t i = batch % g.batch_shape[d];
      batch /= g.batch_shape[d];
      a_at += i * g.a_batch[d];
      b_at += i * g.b_batch[d];
      c_at += i * g.c_batch[d];
    }
    const auto a = block_of<T>(g.dtype, g.a, a_at, g.a_transposed, g.lda, r0, rows, 0, g.k, 0);
    Matrix<T> b;
    if (wide_b) {
      b.ld = g.b_transposed ? g.k : g.n;
      b.data = wide_b.get() + (g.b_transposed ? c0 * b.ld : c0);
    } else {
      b = block_of<T>(g.dtype, g.b, b_at, g.b_transposed, g.ldb, 0, g.k, c0, columns, 1);
    }
    T* out = apart ? thread_scratch<T>(2, rows * columns)
                   : reinterpret_cast<T*>(element(g.c, g.dtype, c_at));
    const int64_t ld = apart ? columns : g.ldc;
    multiply(g.a_transposed, g.b_transposed, rows, columns, g.k, static_cast<T>(g.alpha), a.data,
             a.ld, b.data, b.ld, apart ? T(0) : static_cast<T>(g.beta), out, ld);
    if (!apart && bias.get() == nullptr && !gelu && g.pre_activation == nullptr) return;

    const Epilogue<T> epilogue{bias.get() ? bias.get() + c0 : nullptr, gelu};
    T* row_scratch = thread_scratch<T>(3, 2 * columns);
    for (int64_t r = 0; r < rows; ++r) {
      T* v = out + r * ld;
      const int64_t at = c_at + r * g.ldc;
      T* before = nullptr;
      if (g.pre_activation) before = panel_target<T>(g.dtype, g.pre_activation, at, row_scratch);
      finish_row(epilogue, columns, v, before);
      if (before) store_panel<T>(g.dtype, g.pre_activation, at, columns, before);
      if (!apart) continue;
      if (g.beta != 0) {
        const T beta = static_cast<T>(g.beta);
        const T* old = read_panel<T>(g.dtype, g.c, at, columns, row_scratch + columns);
        for (int64_t j = 0; j < columns; ++j) v[j] += beta * old[j];
      }
      store_panel<T>(g.dtype, g.c, at, columns, v);
    }
  };
  const int64_t tasks = batches * blocks.down * blocks.across;
  const double work = static_cast<double>(blocks.rows) * blocks.columns * std::max<int64_t>(g.k, 1);
  const int64_t grain = std::max<int64_t>(1, static_cast<int64_t>(kTaskWork / work));
  fabric::host::parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) task(i);
  });
}

}  // namespace

void gemm(const GemmArgs& args, Stream& stream) {
  void (*body)(GemmArgs) = nullptr;
  switch (args.dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      body = run<float>;
      break;
    case DType::kF64:
      body = run<double>;
      break;
    case DType::kI64:
      body = run<uint64_t>;
      break;
    case DType::kI32:
      body = run<uint32_t>;
      break;
    default:
      fail(ErrorCode::kDtype, "matmul: dtype %s is not supported", dtype_name(args.dtype));
  }
  if (!is_floating(args.dtype) && args.activation != Activation::kNone)
    fail(ErrorCode::kDtype, "matmul: a fused GELU needs a floating dtype, not %s",
         dtype_name(args.dtype));
  fabric::host::enqueue(stream.handle(), [args, body] { body(args); });
}

}  // namespace weft::cpu
