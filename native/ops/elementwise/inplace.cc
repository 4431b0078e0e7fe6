// Rows of the operators that write their first argument, with the gradients of their functional
// twins. Output 0 of such a call is the written tensor; where a formula needs the value from
// before, the forward keeps a copy as a hidden output, made only when that gradient will be asked
// for.
#include "autograd/node.h"
#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {

void fill_(const Tensor& a, double value) {
  if (a.numel() == 0) return;
  auto run = kernel(kernels(a.device()).fill, "fill", a.device());
  run(TensorIterator::build({&a}, "fill_"), value, stream_for(a));
}

namespace {

constexpr int kOld = 1;  // hidden output

template <BinaryOp kOp>
void forward(OpCall& call) {
  binary_(kOp, call.tensor(0), call.tensor(1), op_name(call.op));
}

/// The other operand's gradient needs the old value of the written one.
template <BinaryOp kOp>
void forward_keeping(OpCall& call) {
  if (grad_enabled() && call.tensor(1).requires_grad()) call.result(clone(call.tensor(0)));
  binary_(kOp, call.tensor(0), call.tensor(1), op_name(call.op));
}

template <UnaryOp kOp>
void forward_scalar(OpCall& call) {
  scalar_(kOp, call.tensor(0), call.number(1), op_name(call.op));
}

void add_grad(GradCall& call) {
  if (call.needs(0)) call.set(0, call.grad());
  if (call.needs(1)) give(call, 1, call.grad());
}

void sub_grad(GradCall& call) {
  if (call.needs(0)) call.set(0, call.grad());
  if (call.needs(1)) give(call, 1, neg(sum_to(call.grad(), call.input_shape(1))));
}

void mul_grad(GradCall& call) {
  if (call.needs(0)) give(call, 0, mul(call.grad(), call.input(1)));
  if (call.needs(1)) give(call, 1, mul(call.grad(), call.output(kOld)));
}

void div_grad(GradCall& call) {
  Tensor scaled = div(call.grad(), call.input(1));
  if (call.needs(0)) give(call, 0, scaled);
  if (call.needs(1)) give(call, 1, neg(mul(scaled, div(call.output(kOld), call.input(1)))));
}

void copy_grad(GradCall& call) {
  if (call.needs(0)) call.set(0, zeros_for(call, 0));
  if (call.needs(1)) {
    give(call, 1, to_device(sum_to(call.grad(), call.input_shape(1)), call.input_device(1)));
  }
}

void overwritten_grad(GradCall& call) { call.set(0, zeros_for(call, 0)); }

}  // namespace

void register_inplace_ops() {
  implement(Op::add_, {.forward = forward<BinaryOp::kAdd>, .gradient = add_grad});
  implement(Op::sub_, {.forward = forward<BinaryOp::kSub>, .gradient = sub_grad});
  implement(Op::mul_, {.forward = forward_keeping<BinaryOp::kMul>,
                       .gradient = mul_grad,
                       .keep_inputs = 0b10,
                       .keep_outputs = 1u << kOld});
  implement(Op::div_, {.forward = forward_keeping<BinaryOp::kDiv>,
                       .gradient = div_grad,
                       .keep_inputs = 0b10,
                       .keep_outputs = 1u << kOld});
  implement(Op::add_scalar_, {.forward = forward_scalar<UnaryOp::kAddScalar>,
                              .gradient = [](GradCall& call) { call.set(0, call.grad()); }});
  implement(Op::mul_scalar_,
            {.forward = forward_scalar<UnaryOp::kMulScalar>, .gradient = [](GradCall& call) {
               call.set(0, mul_scalar(call.grad(), call.number(1)));
             }});
  implement(Op::copy_, {.forward = [](OpCall& call) { copy_(call.tensor(0), call.tensor(1)); },
                        .gradient = copy_grad,
                        .policy = DevicePolicy::kAny});
  implement(Op::zero_, {.forward = [](OpCall& call) { fill_(call.tensor(0), 0); },
                        .gradient = overwritten_grad});
  implement(Op::fill_, {.forward = [](OpCall& call) { fill_(call.tensor(0), call.number(1)); },
                        .gradient = overwritten_grad});
}

}  // namespace weft::ops
