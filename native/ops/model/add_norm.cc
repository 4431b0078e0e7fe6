// A norm of the sum of a residual stream and a branch: the sum and its norm from one kernel, their gradient from another,
// which adds what came for the sum. Called by the rows only.
//
// Design. The stream keeps its dtype and the sum has it, so that f32 streams stay exact beside bf16 branches; the bits are
// those of `add` and the norm behind it. The kernels take a branch of the stream's dtype, or a low one beside f32 rows with
// a result of the same low dtype; any other is cast first. In a region of mixed precision a low stream is cast to f32.
#include "dispatch/autocast.h"
#include "ops/gradient.h"
#include "ops/model/normalization.h"

namespace weft::ops {
namespace {

constexpr int kX = 0, kResidual = 1, kWeight = 2, kBias = 3;  // add_rms_norm has no bias
constexpr int kNorm = 0, kSum = 1;                            // behind them the statistics

/// The dtype in which the kernel reads, and writes the gradient of, a branch of `given`.
DType branch_dtype(DType given, DType rows, DType y) { return given == y ? given : rows; }

Tensor stream_of(const Tensor& residual, const Tensor& x) {
  DType dtype = promote(residual.dtype(), x.dtype());
  if (autocast::on() && is_half(dtype)) dtype = DType::kF32;
  return contiguous(to_dtype(residual, dtype));
}

void forward(OpCall& call, bool centred, const Tensor& bias_in, double eps) {
  const char* name = op_name(call.op);
  require_rows(call.tensor(kX), name);
  require_floating(call.tensor(kResidual), name, "residual");
  if (!(call.tensor(kX).shape() == call.tensor(kResidual).shape())) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: x %s and residual %s must have one shape", name,
         to_string(call.tensor(kX).shape()).c_str(),
         to_string(call.tensor(kResidual).shape()).c_str());
  }
  Tensor residual = stream_of(call.tensor(kResidual), call.tensor(kX));
  const DType rows = residual.dtype();
  const DType y_dtype = autocast::on() && rows == DType::kF32 ? autocast::low_dtype() : rows;
  Tensor x =
      contiguous(to_dtype(call.tensor(kX), branch_dtype(call.tensor(kX).dtype(), rows, y_dtype)));
  Tensor weight = norm_parameter(call.tensor(kWeight), residual, name, "weight");
  Tensor bias = norm_parameter(bias_in, residual, name, "bias");
  Device& device = x.device();
  Tensor y = empty(x.shape(), y_dtype, device), sum = empty(x.shape(), rows, device);
  const Dims count{x.numel() / x.size(-1)};
  Tensor mean = centred ? empty(count, DType::kF32, device) : Tensor();
  Tensor rstd = empty(count, DType::kF32, device);
  if (x.numel() > 0) {
    NormArgs args = norm_args(residual, y_dtype, weight, mean, rstd, eps);
    args.x = x.data();
    args.branch_dtype = x.dtype();
    args.residual = residual.data();
    args.sum = sum.data();
    args.bias = address(bias);
    args.y = y.data();
    auto run = kernel(kernels(device).norm_forward, name, device);
    run(args, stream_for(y, x, residual, sum, weight, bias, mean, rstd));
  }
  call.result(std::move(y));
  call.result(std::move(sum));
  if (centred) call.result(std::move(mean));
  call.result(std::move(rstd));
}

void gradient(GradCall& call, bool centred, double eps, const char* name) {
  Tensor sum = call.output(kSum), g = contiguous(call.grad(kNorm));
  Tensor more = call.grad(kSum) ? contiguous(call.grad(kSum)) : Tensor();
  Tensor weight =
      call.has_input(kWeight) ? contiguous(to_dtype(call.input(kWeight), sum.dtype())) : Tensor();
  Tensor mean = centred ? call.output(2) : Tensor();
  Tensor rstd = call.output(centred ? 3 : 2);
  const DType rows = sum.dtype(), branch = branch_dtype(call.input_dtype(kX), rows, g.dtype());
  const bool low = branch != rows;  // the branch's gradient is written beside the stream's
  Device& device = sum.device();
  const Dims width{sum.size(-1)};
  Tensor grad_sum, grad_branch, grad_weight, grad_bias;
  if (call.needs(kResidual) || (call.needs(kX) && !low))
    grad_sum = empty(sum.shape(), rows, device);
  if (call.needs(kX) && low) grad_branch = empty(sum.shape(), branch, device);
  if (call.needs(kWeight)) grad_weight = empty(width, rows, device);
  if (centred && call.needs(kBias)) grad_bias = empty(width, rows, device);
  if (sum.numel() > 0) {
    NormArgs args = norm_args(sum, g.dtype(), weight, mean, rstd, eps);
    args.branch_dtype = branch;
    args.grad_y = g.data();
    args.grad_sum = address(more);
    args.grad_x = address(grad_sum);
    args.grad_branch = address(grad_branch);
    args.grad_weight = address(grad_weight);
    args.grad_bias = address(grad_bias);
    auto run = kernel(kernels(device).norm_backward, name, device);
    run(args, stream_for(sum, g, more, weight, mean, rstd, grad_sum, grad_branch, grad_weight,
                         grad_bias));
  } else {  // no rows: sums over nothing
    if (grad_weight) fill_(grad_weight, 0);
    if (grad_bias) fill_(grad_bias, 0);
  }
  if (call.needs(kX)) give(call, kX, low ? grad_branch : grad_sum);
  if (call.needs(kResidual)) give(call, kResidual, grad_sum);
  if (grad_weight) give(call, kWeight, grad_weight);
  if (grad_bias) give(call, kBias, grad_bias);
}

}  // namespace

void register_add_norm_ops() {
  implement(
      Op::add_layer_norm,
      {.forward = [](OpCall& call) { forward(call, true, call.tensor(kBias), call.number(4)); },
       .gradient = [](GradCall& call) { gradient(call, true, call.number(4), "add_layer_norm"); },
       .keep_inputs = 1u << kWeight,
       .keep_outputs = 0b1110,
       .takes_missing = true});
  implement(
      Op::add_rms_norm,
      {.forward = [](OpCall& call) { forward(call, false, {}, call.number(3)); },
       .gradient = [](GradCall& call) { gradient(call, false, call.number(3), "add_rms_norm"); },
       .keep_inputs = 1u << kWeight,
       .keep_outputs = 0b0110,
       .takes_missing = true});
}

}  // namespace weft::ops
