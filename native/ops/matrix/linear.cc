// The linear layer: x · weightᵀ + bias, with the bias and an optional tanh-gelu in the epilogue of
// one GEMM. Called by the row below, which keeps the values before the gelu for the gradient.
#include "autograd/node.h"
#include "ops/gradient.h"
#include "ops/launch.h"
#include "ops/matrix/matrix.h"

namespace weft::ops {
namespace {

void check(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (weight.rank() != 2 || x.rank() == 0 || x.size(-1) != weight.size(1)) [[unlikely]] {
    fail(ErrorCode::kShape,
         "linear: x %s and weight %s do not agree; weight must be (out, in) with in the last size "
         "of x",
         to_string(x.shape()).c_str(), to_string(weight.shape()).c_str());
  }
  require_product_dtypes(x, weight, "linear");
  require_floating(x, "linear", "x");
  if (!bias.defined()) return;
  if (bias.rank() != 1 || bias.size(0) != weight.size(0)) [[unlikely]] {
    fail(ErrorCode::kShape, "linear: bias %s must be (%lld,), the rows of weight",
         to_string(bias.shape()).c_str(), (long long)weight.size(0));
  }
  if (bias.dtype() != x.dtype()) [[unlikely]] {
    fail(ErrorCode::kDtype, "linear: bias has dtype %s and x has %s; convert one of them",
         dtype_name(bias.dtype()), dtype_name(x.dtype()));
  }
}

/// All rows of `x` as one matrix; a view wherever strides allow it.
Tensor rows_of(const Tensor& x) {
  if (x.rank() == 2) return x;
  int64_t rows = 1;
  for (int d = 0; d < x.rank() - 1; ++d) rows *= x.size(d);
  return reshape(x, {rows, x.size(-1)});
}

Dims output_shape(const Tensor& x, const Tensor& weight) {
  Dims shape = x.shape();
  shape[shape.n - 1] = weight.size(0);
  return shape;
}

/// in = 0: every output is the bias alone.
Tensor without_inputs(const Tensor& x, const Tensor& weight, const Tensor& bias, bool gelu,
                      Tensor* pre_activation) {
  Tensor out = full(output_shape(x, weight), 0, x.dtype(), x.device());
  if (bias.defined()) binary_(BinaryOp::kAdd, out, bias, "linear");
  if (!gelu) return out;
  if (pre_activation) *pre_activation = out;
  return unary(UnaryOp::kGelu, out, "linear");
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool gelu,
              Tensor* pre_activation) {
  check(x, weight, bias);
  if (weight.size(1) == 0) return without_inputs(x, weight, bias, gelu, pre_activation);
  Tensor out = empty(output_shape(x, weight), x.dtype(), x.device());
  Matrix left = as_matrix(rows_of(x));
  Matrix right = as_matrix(transpose(weight, 0, 1));
  Tensor offset = bias.defined() ? contiguous(bias) : bias;
  GemmArgs args = gemm_args(out, left, right);
  if (offset.defined()) args.bias = offset.data();
  Tensor before;
  if (gelu) {
    args.activation = Activation::kGelu;
    if (pre_activation) {
      before = empty(out.shape(), out.dtype(), out.device());
      args.pre_activation = before.data();
      *pre_activation = before;
    }
  }
  launch_gemm(args, out, left, right, offset, before, "linear");
  return out;
}

namespace {

constexpr int kX = 0, kWeight = 1, kBias = 2, kGelu = 3;

void forward(OpCall& call) {
  Tensor before;
  const Tensor &x = call.tensor(kX), &weight = call.tensor(kWeight), &bias = call.tensor(kBias);
  const bool differentiates =
      x.requires_grad() || weight.requires_grad() || (bias && bias.requires_grad());
  const bool keep = call.flag(kGelu) && differentiates && grad_enabled();
  call.result(linear(x, weight, bias, call.flag(kGelu), keep ? &before : nullptr));
  if (keep) call.result(std::move(before));
}

void gradient(GradCall& call) {
  Tensor g = call.grad();
  if (call.flag(kGelu)) g = binary(BinaryOp::kGeluGrad, g, call.output(1), "linear");
  Tensor rows = rows_of(g);
  if (call.needs(kX)) {
    call.set(kX, view(matmul(rows, call.input(kWeight)), call.input_shape(kX)));
  }
  if (call.needs(kWeight)) {
    call.set(kWeight, matmul(transpose(rows, 0, 1), rows_of(call.input(kX))));
  }
  if (call.needs(kBias)) call.set(kBias, sum(rows, {0}, false));
}

}  // namespace

void register_linear_ops() {
  implement(Op::linear,
            {.forward = forward, .gradient = gradient, .keep_inputs = 0b011, .keep_outputs = 0b10});
}

}  // namespace weft::ops
