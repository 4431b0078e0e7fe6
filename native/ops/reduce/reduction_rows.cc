// Rows of the reductions: boxed forwards and gradient formulas. A gradient comes back as an
// expanded view where every element gets the same value, so nothing is written for it.
#include "ops/gradient.h"
#include "ops/reduce/reduction.h"

namespace weft::ops {
namespace {

constexpr int kDims = 1, kKeepDim = 2;

template <ReduceKind kKind>
void forward(OpCall& call) {
  call.result(
      reduce(kKind, call.tensor(0), call.dims(kDims), call.flag(kKeepDim), op_name(call.op)));
}

/// `t`, of the reduced shape with or without kept dimensions, as a view that broadcasts over input
/// 0.
Tensor spread(const GradCall& call, const Tensor& t) {
  const Dims& shape = call.input_shape(0);
  uint32_t mask = reduced_mask(call.dims(kDims), shape.n, "gradient");
  return reshape(t, reduced_shape(shape, mask, true));
}

int64_t reduced_count(const GradCall& call) {
  const Dims& shape = call.input_shape(0);
  uint32_t mask = reduced_mask(call.dims(kDims), shape.n, "gradient");
  int64_t count = 1;
  for (int d = 0; d < shape.n; ++d) {
    if (mask >> d & 1) count *= shape[d];
  }
  return count;
}

void sum_grad(GradCall& call) {
  call.set(0, expand(spread(call, call.grad()), call.input_shape(0)));
}

void mean_grad(GradCall& call) {
  Tensor share = mul_scalar(call.grad(), 1.0 / static_cast<double>(reduced_count(call)));
  call.set(0, expand(spread(call, share), call.input_shape(0)));
}

// Equal extremes share the gradient equally.
void extreme_grad(GradCall& call) {
  Tensor a = call.input(0);
  Tensor chosen =
      to_dtype(binary(BinaryOp::kEq, a, spread(call, call.output(0)), "amax"), a.dtype());
  Tensor ties = sum(chosen, call.dims(kDims), true);
  call.set(0, mul(chosen, div(spread(call, call.grad()), ties)));
}

// d var / da = 2 (a - mean) / (n - correction)
void var_grad(GradCall& call) {
  constexpr int kCorrection = 2;
  Tensor a = call.input(0);
  Tensor centred = sub(a, reduce(ReduceKind::kMean, a, call.dims(kDims), true, "var"));
  double scale = 2.0 / (static_cast<double>(reduced_count(call)) - call.number(kCorrection));
  call.set(0, mul(mul_scalar(spread(call, call.grad()), scale), centred));
}

}  // namespace

void register_reduction_ops() {
  implement(Op::sum, {.forward = forward<ReduceKind::kSum>, .gradient = sum_grad});
  implement(Op::mean, {.forward = forward<ReduceKind::kMean>, .gradient = mean_grad});
  implement(Op::amax, {.forward = forward<ReduceKind::kMax>,
                       .gradient = extreme_grad,
                       .keep_inputs = 0b1,
                       .keep_outputs = 0b1});
  implement(Op::amin, {.forward = forward<ReduceKind::kMin>,
                       .gradient = extreme_grad,
                       .keep_inputs = 0b1,
                       .keep_outputs = 0b1});
  implement(Op::argmax, {.forward = forward<ReduceKind::kArgMax>});
  implement(Op::var, {.forward =
                          [](OpCall& call) {
                            call.result(reduce(ReduceKind::kVar, call.tensor(0), call.dims(1),
                                               call.flag(3), "var", call.number(2)));
                          },
                      .gradient = var_grad,
                      .keep_inputs = 0b1});
}

}  // namespace weft::ops
