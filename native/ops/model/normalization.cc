// Layer norm and root-mean-square norm over the last dimension. Statistics are f32 whatever the
// dtype of x and are kept as hidden outputs (mean, rstd) for the gradient. In a region of mixed
// precision f32 rows give results of the region's dtype. Called by the rows only.
#include "ops/model/normalization.h"

#include "dispatch/autocast.h"
#include "ops/gradient.h"

namespace weft::ops {

void require_rows(const Tensor& x, const char* name) {
  require_floating(x, name, "x");
  if (x.rank() == 0 || x.size(-1) == 0) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: x %s has no last dimension to normalise", name,
         to_string(x.shape()).c_str());
  }
}

Tensor norm_parameter(const Tensor& p, const Tensor& x, const char* name, const char* what) {
  if (!p.defined()) return p;
  if (p.rank() != 1 || p.size(0) != x.size(-1)) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: %s %s must be (%lld,), the last size of x %s", name, what,
         to_string(p.shape()).c_str(), (long long)x.size(-1), to_string(x.shape()).c_str());
  }
  require_floating(p, name, what);
  return contiguous(to_dtype(p, x.dtype()));
}

NormArgs norm_args(const Tensor& x, DType y_dtype, const Tensor& weight, const Tensor& mean,
                   const Tensor& rstd, double eps) {
  NormArgs args{};
  args.dtype = x.dtype();
  args.y_dtype = y_dtype;
  args.x = x.data();
  args.weight = address(weight);
  args.mean = reinterpret_cast<float*>(address(mean));
  args.rstd = rstd.data_as<float>();
  args.cols = x.size(-1);
  args.rows = x.numel() / args.cols;
  args.eps = eps;
  return args;
}

namespace {

// Inputs of both operators; rms_norm has no bias, and its outputs are (y, rstd).
constexpr int kX = 0, kWeight = 1, kBias = 2;

void norm_forward(OpCall& call, bool centred, const Tensor& bias_in, double eps) {
  const char* name = op_name(call.op);
  const Tensor& given = call.tensor(kX);
  require_rows(given, name);
  Tensor x = contiguous(given);
  Tensor weight = norm_parameter(call.tensor(kWeight), x, name, "weight");
  Tensor bias = norm_parameter(bias_in, x, name, "bias");
  const bool rounds = autocast::on() && x.dtype() == DType::kF32;
  Tensor y = empty(x.shape(), rounds ? autocast::low_dtype() : x.dtype(), x.device());
  const Dims rows{x.numel() / x.size(-1)};
  Tensor mean = centred ? empty(rows, DType::kF32, x.device()) : Tensor();
  Tensor rstd = empty(rows, DType::kF32, x.device());
  if (x.numel() > 0) {
    NormArgs args = norm_args(x, y.dtype(), weight, mean, rstd, eps);
    args.bias = address(bias);
    args.y = y.data();
    auto run = kernel(kernels(x.device()).norm_forward, name, x.device());
    run(args, stream_for(y, x, weight, bias, mean, rstd));
  }
  call.result(std::move(y));
  if (centred) call.result(std::move(mean));
  call.result(std::move(rstd));
}

void norm_gradient(GradCall& call, bool centred, double eps, const char* name) {
  Tensor x = contiguous(call.input(kX));
  Tensor g = contiguous(call.grad());
  Tensor weight =
      call.has_input(kWeight) ? contiguous(to_dtype(call.input(kWeight), x.dtype())) : Tensor();
  Tensor mean = centred ? call.output(1) : Tensor();
  Tensor rstd = call.output(centred ? 2 : 1);
  const Dims width{x.size(-1)};
  Tensor grad_x, grad_weight, grad_bias;
  if (call.needs(kX)) grad_x = empty(x.shape(), x.dtype(), x.device());
  if (call.needs(kWeight)) grad_weight = empty(width, x.dtype(), x.device());
  if (centred && call.needs(kBias)) grad_bias = empty(width, x.dtype(), x.device());
  if (x.numel() > 0) {
    NormArgs args = norm_args(x, g.dtype(), weight, mean, rstd, eps);
    args.grad_y = g.data();
    args.grad_x = address(grad_x);
    args.grad_weight = address(grad_weight);
    args.grad_bias = address(grad_bias);
    auto run = kernel(kernels(x.device()).norm_backward, name, x.device());
    run(args, stream_for(x, g, weight, mean, rstd, grad_x, grad_weight, grad_bias));
  } else {  // no rows: sums over nothing
    if (grad_weight) fill_(grad_weight, 0);
    if (grad_bias) fill_(grad_bias, 0);
  }
  if (grad_x) call.set(kX, grad_x);
  if (grad_weight) give(call, kWeight, grad_weight);
  if (grad_bias) give(call, kBias, grad_bias);
}

}  // namespace

void register_normalization_ops() {
  implement(
      Op::layer_norm,
      {.forward =
           [](OpCall& call) { norm_forward(call, true, call.tensor(kBias), call.number(3)); },
       .gradient = [](GradCall& call) { norm_gradient(call, true, call.number(3), "layer_norm"); },
       .keep_inputs = 0b011,
       .keep_outputs = 0b110});
  implement(
      Op::rms_norm,
      {.forward = [](OpCall& call) { norm_forward(call, false, {}, call.number(2)); },
       .gradient = [](GradCall& call) { norm_gradient(call, false, call.number(2), "rms_norm"); },
       .keep_inputs = 0b011,
       .keep_outputs = 0b010});
  register_add_norm_ops();
  register_softmax_ops();
}

}  // namespace weft::ops
