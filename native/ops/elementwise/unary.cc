// Elementwise operators of one tensor: forwards, rows and gradient formulas. Formulas of other
// subjects call unary() too.
#include <cmath>

#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

DType compute_dtype(UnaryOp op, DType dtype, ElementParams params, const char* name) {
  const ElementKind kind = kind_of(op);
  if (is_floating(dtype) || kind == ElementKind::kTest || op == UnaryOp::kCopy) return dtype;
  // Values between the integers: an integer tensor is computed in f32.
  if (kind == ElementKind::kFloating) return DType::kF32;
  if (dtype == DType::kBool) [[unlikely]] {
    fail(ErrorCode::kDtype, "%s: dtype bool has no such values; convert to a number dtype first",
         name);
  }
  if (op ==
      UnaryOp::kClamp) {  // a bound like 0.5 makes the result floating, as any other number does
    if (!std::isnan(params.p0)) dtype = promote_scalar(dtype, params.p0);
    if (!std::isnan(params.p1)) dtype = promote_scalar(dtype, params.p1);
  }
  return dtype;
}

}  // namespace

Tensor launch_unary(UnaryOp op, const Tensor& in, DType result, ElementParams params,
                    const char* name) {
  Tensor out = empty(in.shape(), result, in.device());
  if (out.numel() == 0) return out;
  auto run = kernel(kernels(out.device()).unary, name, out.device());
  run(op, TensorIterator::build({&out, &in}, name), params, stream_for(out, in));
  return out;
}

Tensor unary(UnaryOp op, const Tensor& a, const char* name, ElementParams params) {
  if (op == UnaryOp::kIsFinite && !is_floating(a.dtype())) {
    return full(a.shape(), 1, DType::kBool, a.device());
  }
  DType compute = compute_dtype(op, a.dtype(), params, name);
  DType result = gives_bool(kind_of(op)) ? DType::kBool : compute;
  if (a.dtype() == compute) return launch_unary(op, a, result, params, name);
  return launch_unary(op, to_dtype(a, compute), result, params, name);
}

Tensor neg(const Tensor& a) { return unary(UnaryOp::kNeg, a, "neg"); }

namespace {

template <UnaryOp kOp>
void forward(OpCall& call) {
  call.result(unary(kOp, call.tensor(0), op_name(call.op)));
}

/// Formula that is one kernel of (grad, input).
template <BinaryOp kOp>
void from_input(GradCall& call) {
  give(call, 0, binary(kOp, call.grad(), call.input(0), "gradient"));
}
/// Formula that is one kernel of (grad, output).
template <BinaryOp kOp>
void from_output(GradCall& call) {
  give(call, 0, binary(kOp, call.grad(), call.output(0), "gradient"));
}

void neg_grad(GradCall& call) { give(call, 0, neg(call.grad())); }
void zero_grad(GradCall& call) { call.set(0, zeros_for(call, 0)); }

// d(1/a)/da = -1/a² = -out²
void reciprocal_grad(GradCall& call) {
  Tensor out = call.output(0);
  give(call, 0, neg(mul(call.grad(), mul(out, out))));
}

void sqrt_grad(GradCall& call) { give(call, 0, div(mul_scalar(call.grad(), 0.5), call.output(0))); }

// d(a^-½)/da = -½ a^(-3/2) = -½ out³
void rsqrt_grad(GradCall& call) {
  Tensor out = call.output(0);
  give(call, 0, mul(mul_scalar(call.grad(), -0.5), mul(out, mul(out, out))));
}

void sin_grad(GradCall& call) {
  give(call, 0, mul(call.grad(), unary(UnaryOp::kCos, call.input(0), "sin")));
}
void cos_grad(GradCall& call) {
  give(call, 0, neg(mul(call.grad(), unary(UnaryOp::kSin, call.input(0), "cos"))));
}

void gelu_grad(GradCall& call) {
  BinaryOp op = call.flag(1) ? BinaryOp::kGeluGrad : BinaryOp::kGeluErfGrad;
  give(call, 0, binary(op, call.grad(), call.input(0), "gelu"));
}

/// With two numbers as parameters: forward, and the formula that is one kernel of (grad, input).
template <UnaryOp kOp>
void forward_numbers(OpCall& call) {
  ElementParams params{call.number(1), call.number(2)};
  call.result(unary(kOp, call.tensor(0), op_name(call.op), params));
}
template <BinaryOp kOp>
void from_input_numbers(GradCall& call) {
  ElementParams params{call.number(1), call.number(2)};
  give(call, 0, binary(kOp, call.grad(), call.input(0), "gradient", params));
}

constexpr uint32_t kFirst = 0b1;

template <UnaryOp kOp>
void implement_from_input(Op op, GradFn gradient) {
  implement(op, {.forward = forward<kOp>, .gradient = gradient, .keep_inputs = kFirst});
}
template <UnaryOp kOp>
void implement_from_output(Op op, GradFn gradient) {
  implement(op, {.forward = forward<kOp>, .gradient = gradient, .keep_outputs = kFirst});
}

}  // namespace

void register_unary_ops() {
  implement(Op::neg, {.forward = forward<UnaryOp::kNeg>, .gradient = neg_grad});
  implement(Op::sign, {.forward = forward<UnaryOp::kSign>, .gradient = zero_grad});
  implement_from_input<UnaryOp::kAbs>(Op::abs, from_input<BinaryOp::kAbsGrad>);
  implement_from_output<UnaryOp::kReciprocal>(Op::reciprocal, reciprocal_grad);
  implement_from_output<UnaryOp::kExp>(Op::exp, from_output<BinaryOp::kMul>);
  implement_from_input<UnaryOp::kLog>(Op::log, from_input<BinaryOp::kDiv>);
  implement_from_output<UnaryOp::kSqrt>(Op::sqrt, sqrt_grad);
  implement_from_output<UnaryOp::kRsqrt>(Op::rsqrt, rsqrt_grad);
  implement_from_input<UnaryOp::kSin>(Op::sin, sin_grad);
  implement_from_input<UnaryOp::kCos>(Op::cos, cos_grad);
  implement_from_output<UnaryOp::kTanh>(Op::tanh, from_output<BinaryOp::kTanhGrad>);
  implement_from_output<UnaryOp::kSigmoid>(Op::sigmoid, from_output<BinaryOp::kSigmoidGrad>);
  implement_from_output<UnaryOp::kRelu>(Op::relu, from_output<BinaryOp::kReluGrad>);
  implement_from_input<UnaryOp::kSilu>(Op::silu, from_input<BinaryOp::kSiluGrad>);
  implement(Op::gelu, {.forward =
                           [](OpCall& call) {
                             UnaryOp op = call.flag(1) ? UnaryOp::kGelu : UnaryOp::kGeluErf;
                             call.result(unary(op, call.tensor(0), "gelu"));
                           },
                       .gradient = gelu_grad,
                       .keep_inputs = kFirst});
  implement(Op::clamp, {.forward = forward_numbers<UnaryOp::kClamp>,
                        .gradient = from_input_numbers<BinaryOp::kClampGrad>,
                        .keep_inputs = kFirst});
  implement(Op::softplus, {.forward = forward_numbers<UnaryOp::kSoftplus>,
                           .gradient = from_input_numbers<BinaryOp::kSoftplusGrad>,
                           .keep_inputs = kFirst});
  implement(Op::logical_not, {.forward = forward<UnaryOp::kLogicalNot>});
  implement(Op::isfinite, {.forward = forward<UnaryOp::kIsFinite>});
}

}  // namespace weft::ops
