// Rows of the operators over two or three tensors: boxed forwards and gradient formulas. Every
// gradient is summed back over the dimensions that broadcasting added.
#include "ops/gradient.h"

namespace weft::ops {
namespace {

template <BinaryOp kOp>
void forward(OpCall& call) {
  call.result(binary(kOp, call.tensor(0), call.tensor(1), op_name(call.op)));
}

void add_grad(GradCall& call) {
  if (call.needs(0)) give(call, 0, call.grad());
  if (call.needs(1)) give(call, 1, call.grad());
}

void sub_grad(GradCall& call) {
  if (call.needs(0)) give(call, 0, call.grad());
  if (call.needs(1)) give(call, 1, neg(sum_to(call.grad(), call.input_shape(1))));
}

void mul_grad(GradCall& call) {
  if (call.needs(0)) give(call, 0, mul(call.grad(), call.input(1)));
  if (call.needs(1)) give(call, 1, mul(call.grad(), call.input(0)));
}

void div_grad(GradCall& call) {
  Tensor scaled = div(call.grad(), call.input(1));
  if (call.needs(0)) give(call, 0, scaled);
  if (call.needs(1)) give(call, 1, neg(mul(scaled, div(call.input(0), call.input(1)))));
}

Tensor zero_like_scalar(const Tensor& t) { return full({}, 0, t.dtype(), t.device()); }

// d(a^b)/da = b a^(b-1), 0 where b is 0; d(a^b)/db = a^b log a, 0 where a is 0 and b is not
// negative.
void pow_grad(GradCall& call) {
  const Tensor& g = call.grad();
  Tensor a = call.input(0), b = call.input(1);
  if (call.needs(0)) {
    Tensor slope = mul(b, binary(BinaryOp::kPow, a, add_scalar(b, -1), "pow"));
    Tensor flat = with_scalar(UnaryOp::kEqScalar, b, 0, "pow");
    Tensor product = mul(g, slope);
    give(call, 0, where(flat, zero_like_scalar(product), product));
  }
  if (call.needs(1)) {
    Tensor product = mul(g, mul(call.output(0), unary(UnaryOp::kLog, a, "pow")));
    Tensor flat = mul(with_scalar(UnaryOp::kEqScalar, a, 0, "pow"),
                      with_scalar(UnaryOp::kGeScalar, b, 0, "pow"));
    give(call, 1, where(flat, zero_like_scalar(product), product));
  }
}

// The larger (or smaller) operand takes the gradient; equal operands take half each.
template <BinaryOp kLoses>
void extreme_grad(GradCall& call) {
  const Tensor& g = call.grad();
  Tensor a = call.input(0), b = call.input(1);
  Tensor tied = binary(BinaryOp::kEq, a, b, "maximum");
  Tensor half = mul_scalar(g, 0.5);
  Tensor zero = zero_like_scalar(g);
  for (int i = 0; i < 2; ++i) {
    if (!call.needs(i)) continue;
    Tensor lost = i == 0 ? binary(kLoses, a, b, "maximum") : binary(kLoses, b, a, "maximum");
    give(call, i, where(tied, half, where(lost, zero, g)));
  }
}

void where_grad(GradCall& call) {
  const Tensor& g = call.grad();
  Tensor condition = call.input(0);
  Tensor zero = zero_like_scalar(g);
  if (call.needs(1)) give(call, 1, where(condition, g, zero));
  if (call.needs(2)) give(call, 2, where(condition, zero, g));
}

}  // namespace

void register_elementwise_ops() {
  implement(Op::add, {.forward = forward<BinaryOp::kAdd>, .gradient = add_grad});
  implement(Op::sub, {.forward = forward<BinaryOp::kSub>, .gradient = sub_grad});
  implement(Op::mul,
            {.forward = forward<BinaryOp::kMul>, .gradient = mul_grad, .keep_inputs = 0b11});
  implement(Op::div,
            {.forward = forward<BinaryOp::kDiv>, .gradient = div_grad, .keep_inputs = 0b11});
  implement(Op::pow, {.forward = forward<BinaryOp::kPow>,
                      .gradient = pow_grad,
                      .keep_inputs = 0b11,
                      .keep_outputs = 0b1});
  implement(Op::maximum, {.forward = forward<BinaryOp::kMaximum>,
                          .gradient = extreme_grad<BinaryOp::kLt>,
                          .keep_inputs = 0b11});
  implement(Op::minimum, {.forward = forward<BinaryOp::kMinimum>,
                          .gradient = extreme_grad<BinaryOp::kGt>,
                          .keep_inputs = 0b11});
  implement(Op::eq, {.forward = forward<BinaryOp::kEq>});
  implement(Op::ne, {.forward = forward<BinaryOp::kNe>});
  implement(Op::lt, {.forward = forward<BinaryOp::kLt>});
  implement(Op::le, {.forward = forward<BinaryOp::kLe>});
  implement(Op::gt, {.forward = forward<BinaryOp::kGt>});
  implement(Op::ge, {.forward = forward<BinaryOp::kGe>});
  implement(Op::where, {.forward =
                            [](OpCall& call) {
                              call.result(where(call.tensor(0), call.tensor(1), call.tensor(2)));
                            },
                        .gradient = where_grad,
                        .keep_inputs = 0b001});
}

}  // namespace weft::ops
