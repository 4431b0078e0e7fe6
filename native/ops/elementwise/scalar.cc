// Elementwise operators of a tensor and a JavaScript number. The dtype follows promote_scalar: an
// integral number keeps an integer dtype, any other makes it f32, floating dtypes stay.
#include <cmath>

#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

DType compute_dtype(UnaryOp op, DType tensor, double number, const char* name) {
  DType dtype = promote_scalar(tensor, number);
  if (is_floating(dtype)) return dtype;
  if (kind_of(op) == ElementKind::kFloating) return DType::kF32;
  if (op == UnaryOp::kPowScalar && number < 0) [[unlikely]] {
    fail(ErrorCode::kUsage,
         "%s: dtype %s to the power %g has no integer result; convert to f32 first", name,
         dtype_name(tensor), number);
  }
  return dtype;
}

}  // namespace

Tensor with_scalar(UnaryOp op, const Tensor& a, double number, const char* name) {
  DType compute = compute_dtype(op, a.dtype(), number, name);
  DType result = gives_bool(kind_of(op)) ? DType::kBool : compute;
  if (a.dtype() == compute) return launch_unary(op, a, result, {number}, name);
  return launch_unary(op, to_dtype(a, compute), result, {number}, name);
}

void scalar_(UnaryOp op, const Tensor& a, double number, const char* name) {
  DType compute = compute_dtype(op, a.dtype(), number, name);
  if (compute != a.dtype()) [[unlikely]] {
    fail(ErrorCode::kDtype,
         "%s: the result has dtype %s and cannot be kept in a tensor of dtype %s", name,
         dtype_name(compute), dtype_name(a.dtype()));
  }
  if (a.numel() == 0) return;
  auto run = kernel(kernels(a.device()).unary, name, a.device());
  run(op, TensorIterator::build({&a, &a}, name), {number}, stream_for(a));
}

Tensor mul_scalar(const Tensor& a, double b) {
  return with_scalar(UnaryOp::kMulScalar, a, b, "mul_scalar");
}
Tensor add_scalar(const Tensor& a, double b) {
  return with_scalar(UnaryOp::kAddScalar, a, b, "add_scalar");
}

namespace {

template <UnaryOp kOp>
void forward(OpCall& call) {
  call.result(with_scalar(kOp, call.tensor(0), call.number(1), op_name(call.op)));
}

void pass_grad(GradCall& call) { give(call, 0, call.grad()); }
void rsub_grad(GradCall& call) { give(call, 0, neg(call.grad())); }
void mul_grad(GradCall& call) { give(call, 0, mul_scalar(call.grad(), call.number(1))); }
void div_grad(GradCall& call) {
  give(call, 0, with_scalar(UnaryOp::kDivScalar, call.grad(), call.number(1), "div_scalar"));
}

// d(c / a)/da = -(c / a) / a
void rdiv_grad(GradCall& call) {
  Tensor a = call.input(0);
  Tensor quotient = with_scalar(UnaryOp::kRdivScalar, a, -call.number(1), "rdiv_scalar");
  give(call, 0, div(mul(call.grad(), quotient), a));
}

void pow_grad(GradCall& call) {
  const double exponent = call.number(1);
  Tensor a = call.input(0);
  if (exponent == 0) {
    call.set(0, zeros_for(call, 0));
  } else if (exponent == 2) {
    give(call, 0, mul(call.grad(), mul_scalar(a, 2)));
  } else {
    Tensor power = with_scalar(UnaryOp::kPowScalar, a, exponent - 1, "pow_scalar");
    give(call, 0, mul(call.grad(), mul_scalar(power, exponent)));
  }
}

// As for two tensors: a tie gives the tensor half, the other half belongs to the number. (loses,
// tied) are exact 0 or 1, so the factor is 1, 0.5 or 0.
template <UnaryOp kLoses>
void extreme_grad(GradCall& call) {
  const Tensor& g = call.grad();
  const double number = call.number(1);
  Tensor a = call.input(0);
  Tensor lost = with_scalar(kLoses, a, number, "maximum_scalar");
  Tensor tied = with_scalar(UnaryOp::kEqScalar, a, number, "maximum_scalar");
  Tensor zero = full({}, 0, g.dtype(), g.device());
  give(call, 0, where(tied, mul_scalar(g, 0.5), where(lost, zero, g)));
}

}  // namespace

void register_scalar_ops() {
  implement(Op::add_scalar, {.forward = forward<UnaryOp::kAddScalar>, .gradient = pass_grad});
  implement(Op::sub_scalar, {.forward = forward<UnaryOp::kSubScalar>, .gradient = pass_grad});
  implement(Op::rsub_scalar, {.forward = forward<UnaryOp::kRsubScalar>, .gradient = rsub_grad});
  implement(Op::mul_scalar, {.forward = forward<UnaryOp::kMulScalar>, .gradient = mul_grad});
  implement(Op::div_scalar, {.forward = forward<UnaryOp::kDivScalar>, .gradient = div_grad});
  implement(Op::rdiv_scalar,
            {.forward = forward<UnaryOp::kRdivScalar>, .gradient = rdiv_grad, .keep_inputs = 0b1});
  implement(Op::pow_scalar,
            {.forward = forward<UnaryOp::kPowScalar>, .gradient = pow_grad, .keep_inputs = 0b1});
  implement(Op::maximum_scalar, {.forward = forward<UnaryOp::kMaximumScalar>,
                                 .gradient = extreme_grad<UnaryOp::kLtScalar>,
                                 .keep_inputs = 0b1});
  implement(Op::minimum_scalar, {.forward = forward<UnaryOp::kMinimumScalar>,
                                 .gradient = extreme_grad<UnaryOp::kGtScalar>,
                                 .keep_inputs = 0b1});
  implement(Op::eq_scalar, {.forward = forward<UnaryOp::kEqScalar>});
  implement(Op::ne_scalar, {.forward = forward<UnaryOp::kNeScalar>});
  implement(Op::lt_scalar, {.forward = forward<UnaryOp::kLtScalar>});
  implement(Op::le_scalar, {.forward = forward<UnaryOp::kLeScalar>});
  implement(Op::gt_scalar, {.forward = forward<UnaryOp::kGtScalar>});
  implement(Op::ge_scalar, {.forward = forward<UnaryOp::kGeScalar>});
}

}  // namespace weft::ops
