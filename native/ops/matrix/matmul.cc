// Matrix products with the shape rules of torch.matmul: vectors, matrices and broadcast batches.
// Transposed operands are read through their strides; a 2-D right side takes the left one
// flattened, so that a batch is one GEMM. Rows of matmul are here, those of linear in linear.cc.
#include <algorithm>

#include "ops/gradient.h"
#include "ops/launch.h"
#include "ops/matrix/matrix.h"

namespace weft::ops {

Matrix as_matrix(const Tensor& t) {
  const int row = t.rank() - 2, column = t.rank() - 1;
  const int64_t rows = t.size(row), columns = t.size(column);
  const int64_t row_stride = t.strides()[row], column_stride = t.strides()[column];
  // A stride along one element is never stepped; GEMM still wants a leading dimension >= the row.
  if ((column_stride == 1 || columns <= 1) && (row_stride >= columns || rows <= 1)) {
    return {t, std::max<int64_t>({rows <= 1 ? columns : row_stride, columns, 1}), false};
  }
  if ((row_stride == 1 || rows <= 1) && (column_stride >= rows || columns <= 1)) {
    return {t, std::max<int64_t>({columns <= 1 ? rows : column_stride, rows, 1}), true};
  }
  return {clone(t), std::max<int64_t>(columns, 1), false};
}

GemmArgs gemm_args(const Tensor& out, const Matrix& a, const Matrix& b) {
  GemmArgs args{};
  args.dtype = out.dtype();
  args.m = a.tensor.size(-2);
  args.k = a.tensor.size(-1);
  args.n = b.tensor.size(-1);
  args.a = a.tensor.data();
  args.b = b.tensor.data();
  args.c = out.data();
  args.lda = a.ld;
  args.ldb = b.ld;
  args.ldc = std::max<int64_t>(args.n, 1);
  args.a_transposed = a.transposed;
  args.b_transposed = b.transposed;
  args.alpha = 1;
  args.beta = 0;
  return args;
}

void launch_gemm(const GemmArgs& args, const Tensor& out, const Matrix& a, const Matrix& b,
                 const Tensor& bias, const Tensor& pre_activation, const char* name) {
  if (out.numel() == 0) return;
  if (args.k == 0) {  // an empty sum; linear adds its bias itself
    fill_(out, 0);
    return;
  }
  auto run = kernel(kernels(out.device()).gemm, name, out.device());
  run(args, stream_for(out, a.tensor, b.tensor, bias, pre_activation));
}

void require_product_dtypes(const Tensor& a, const Tensor& b, const char* name) {
  if (a.dtype() != b.dtype()) [[unlikely]] {
    fail(ErrorCode::kDtype, "%s: dtypes %s and %s differ; convert one of them", name,
         dtype_name(a.dtype()), dtype_name(b.dtype()));
  }
  if (a.dtype() == DType::kU8 || a.dtype() == DType::kBool) [[unlikely]] {
    fail(ErrorCode::kDtype,
         "%s: dtype %s is not multiplied; convert to i32, i64 or a floating dtype", name,
         dtype_name(a.dtype()));
  }
}

namespace {

// Appends a batch dimension (called from the fastest on), merged with the one before where all
// three operands step through memory evenly.
void append_batch(GemmArgs& args, int64_t size, int64_t a, int64_t b, int64_t c) {
  if (size == 1) return;
  int n = args.batch_dims;
  if (n > 0) {
    int64_t before = args.batch_shape[n - 1];
    if (a == args.a_batch[n - 1] * before && b == args.b_batch[n - 1] * before &&
        c == args.c_batch[n - 1] * before) {
      args.batch_shape[n - 1] *= size;
      return;
    }
  }
  args.batch_shape[n] = size;
  args.a_batch[n] = a;
  args.b_batch[n] = b;
  args.c_batch[n] = c;
  args.batch_dims = n + 1;
}

int64_t batch_stride(const Tensor& t, int out_dim, int batch_rank) {
  int d = out_dim - (batch_rank - (t.rank() - 2));
  return d < 0 || t.size(d) == 1 ? 0 : t.strides()[d];
}

Dims leading(const Dims& shape) {
  Dims out;
  for (int d = 0; d < shape.n - 2; ++d) out.push(shape[d]);
  return out;
}

/// Can `t` (.., rows, columns) be seen as one matrix of all its rows without a copy?
bool flattens(const Tensor& t) {
  int64_t step = t.strides()[t.rank() - 2], rows = t.size(-2);
  for (int d = t.rank() - 3; d >= 0; --d) {
    if (t.size(d) != 1 && t.strides()[d] != step * rows) return false;
    rows *= t.size(d);
  }
  return true;
}

/// Both operands have at least two dimensions and agreeing inner sizes.
Tensor product(const Tensor& a, const Tensor& b) {
  if (b.rank() == 2 && a.rank() > 2 && flattens(a)) {
    Dims shape = a.shape();
    shape[shape.n - 1] = b.size(1);
    const int64_t rows = element_count(leading(a.shape())) * a.size(-2);
    return as_own(view(product(view(a, {rows, a.size(-1)}), b), shape));
  }
  Dims batch;
  if (a.rank() > 2 || b.rank() > 2) {
    batch = broadcast_shapes(leading(a.shape()), leading(b.shape()), "matmul");
  }
  Dims shape = batch;
  shape.push(a.size(-2));
  shape.push(b.size(-1));
  Tensor out = empty(shape, a.dtype(), a.device());
  Matrix left = as_matrix(a), right = as_matrix(b);
  GemmArgs args = gemm_args(out, left, right);
  for (int d = batch.n - 1; d >= 0; --d) {
    append_batch(args, batch[d], batch_stride(left.tensor, d, batch.n),
                 batch_stride(right.tensor, d, batch.n), out.strides()[d]);
  }
  launch_gemm(args, out, left, right, {}, {}, "matmul");
  return out;
}

void require_agreement(const Tensor& a, const Tensor& b) {
  if (a.rank() == 0 || b.rank() == 0) {
    fail(ErrorCode::kShape,
         "matmul: shapes %s and %s: a tensor without dimensions has no matrix; use mul",
         to_string(a.shape()).c_str(), to_string(b.shape()).c_str());
  }
  const int64_t columns = a.size(-1);
  const int64_t rows = b.rank() == 1 ? b.size(0) : b.size(-2);
  if (columns != rows) {
    fail(ErrorCode::kShape, "matmul: shapes %s and %s do not agree: %lld columns against %lld rows",
         to_string(a.shape()).c_str(), to_string(b.shape()).c_str(), (long long)columns,
         (long long)rows);
  }
  if (a.rank() > 2 && b.rank() > 2) {
    for (int d = 3; d <= std::min(a.rank(), b.rank()); ++d) {
      const int64_t left = a.size(-d), right = b.size(-d);
      if (left == right || left == 1 || right == 1) continue;
      fail(ErrorCode::kShape,
           "matmul: shapes %s and %s do not agree: batch sizes %lld and %lld do not broadcast",
           to_string(a.shape()).c_str(), to_string(b.shape()).c_str(), (long long)left,
           (long long)right);
    }
  }
  require_product_dtypes(a, b, "matmul");
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  require_agreement(a, b);
  if (a.rank() > 1 && b.rank() > 1) return product(a, b);
  Tensor out = product(a.rank() == 1 ? unsqueeze(a, 0) : a, b.rank() == 1 ? unsqueeze(b, 1) : b);
  Dims shape = out.shape();
  if (b.rank() == 1) shape.erase(shape.n - 1);
  if (a.rank() == 1) shape.erase(shape.n - (b.rank() == 1 ? 1 : 2));
  return as_own(view(out, shape));
}

namespace {

Tensor flat_rows(const Tensor& t) {
  return t.rank() == 2 ? t
                       : reshape(t, {element_count(leading(t.shape())) * t.size(-2), t.size(-1)});
}

void matmul_grad(GradCall& call) {
  // Vectors become matrices, as in the forward; `give` brings the sums back to the input's shape.
  const int a_rank = call.input_shape(0).n, b_rank = call.input_shape(1).n;
  Tensor a = call.input(0), b = call.input(1), g = call.grad();
  if (b_rank == 1) g = unsqueeze(g, -1), b = unsqueeze(b, 1);
  if (a_rank == 1) g = unsqueeze(g, -2), a = unsqueeze(a, 0);
  if (call.needs(0)) {
    Tensor gradient = matmul(g, transpose(b, -1, -2));
    if (a_rank == 1) {
      gradient = sum_to(gradient, Dims{1, call.input_shape(0)[0]});
      call.set(0, view(gradient, call.input_shape(0)));
    } else {
      call.set(0, sum_to(gradient, call.input_shape(0)));
    }
  }
  if (!call.needs(1)) return;
  if (b.rank() == 2 && a.rank() > 2) {  // one GEMM sums over the batch
    call.set(1, reshape(matmul(transpose(flat_rows(a), 0, 1), flat_rows(g)), call.input_shape(1)));
    return;
  }
  Tensor gradient = matmul(transpose(a, -1, -2), g);
  call.set(1, reshape(sum_to(gradient, b.shape()), call.input_shape(1)));
}

}  // namespace

void register_matmul_ops() {
  implement(Op::matmul,
            {.forward = [](OpCall& call) { call.result(matmul(call.tensor(0), call.tensor(1))); },
             .gradient = matmul_grad,
             .keep_inputs = 0b11});
  register_linear_ops();
}

}  // namespace weft::ops
