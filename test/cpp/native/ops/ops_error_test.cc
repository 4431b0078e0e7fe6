// What the operators refuse: the error's class by origin, and a message that names the operator,
// what was given and what is needed.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "autograd/node.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft::test {
namespace {

using List = std::vector<Tensor>;

Tensor zeros(const Dims& shape, DType dtype = DType::kF32) {
  ensure_registered();
  return ops::full(shape, 0, dtype, host());
}

void expect_error(ErrorCode code, const std::string& message, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_NE(error.message().find(message), std::string::npos)
        << "got:  " << error.message() << "\nwant: " << message;
    return;
  }
  ADD_FAILURE() << "nothing was thrown; expected: " << message;
}

TEST(OpsError, Elementwise) {
  expect_error(ErrorCode::kShape, "add: shapes (2, 3) and (4,) do not broadcast",
               [] { call(Op::add, {zeros({2, 3}), zeros({4})}); });
  expect_error(ErrorCode::kDtype, "where: condition has dtype f32 and must be bool",
               [] { call(Op::where, {zeros({2}), zeros({2}), zeros({2})}); });
  expect_error(ErrorCode::kDtype, "sub: both tensors are bool",
               [] { call(Op::sub, {zeros({2}, DType::kBool), zeros({2}, DType::kBool)}); });
  expect_error(ErrorCode::kDtype, "neg: dtype bool",
               [] { call(Op::neg, {zeros({2}, DType::kBool)}); });
  expect_error(ErrorCode::kUsage, "pow_scalar: dtype i32 to the power -1",
               [] { call(Op::pow_scalar, {zeros({2}, DType::kI32), -1.0}); });
  expect_error(ErrorCode::kDevice, "add: tensors are on host:0 and host:1", [] {
    Tensor there = ops::full({2}, 0, DType::kF32, fabric::open_device("host:1"));
    call(Op::add, {zeros({2}), there});
  });
}

TEST(OpsError, Reductions) {
  expect_error(ErrorCode::kDtype, "mean: dtype i64",
               [] { call(Op::mean, {zeros({2}, DType::kI64), Dims{}, false}); });
  expect_error(ErrorCode::kShape, "amax: shape (0, 3) has no elements",
               [] { call(Op::amax, {zeros({0, 3}), Dims{0}, false}); });
  expect_error(ErrorCode::kShape, "argmax: shape (0,)",
               [] { call(Op::argmax, {zeros({0}), Dims{}, false}); });
  expect_error(ErrorCode::kUsage, "argmax: 2 dimensions given",
               [] { call(Op::argmax, {zeros({2, 3}), Dims{0, 1}, false}); });
  expect_error(ErrorCode::kUsage, "sum: dimension -1 appears twice",
               [] { call(Op::sum, {zeros({2, 3}), Dims{1, -1}, false}); });
  expect_error(ErrorCode::kShape, "sum: dimension 2 is out of range",
               [] { call(Op::sum, {zeros({2, 3}), Dims{2}, false}); });
}

TEST(OpsError, Products) {
  expect_error(ErrorCode::kShape,
               "matmul: shapes (2, 3) and (4, 5) do not agree: 3 columns against 4 rows",
               [] { call(Op::matmul, {zeros({2, 3}), zeros({4, 5})}); });
  expect_error(ErrorCode::kShape,
               "matmul: shapes (2, 2, 3) and (3, 3, 2) do not agree: batch sizes 2 and 3",
               [] { call(Op::matmul, {zeros({2, 2, 3}), zeros({3, 3, 2})}); });
  expect_error(ErrorCode::kShape, "matmul: shapes () and (2,)",
               [] { call(Op::matmul, {zeros({}), zeros({2})}); });
  expect_error(ErrorCode::kDtype, "matmul: dtypes f32 and f64 differ",
               [] { call(Op::matmul, {zeros({2, 2}), zeros({2, 2}, DType::kF64)}); });
  expect_error(ErrorCode::kDtype, "dtype u8",
               [] { call(Op::matmul, {zeros({2, 2}, DType::kU8), zeros({2, 2}, DType::kU8)}); });
  expect_error(ErrorCode::kShape, "linear: x (2, 3) and weight (4, 5) do not agree",
               [] { call(Op::linear, {zeros({2, 3}), zeros({4, 5}), Tensor(), false}); });
  expect_error(ErrorCode::kShape, "linear: bias (3,) must be (4,)",
               [] { call(Op::linear, {zeros({2, 3}), zeros({4, 3}), zeros({3}), false}); });
}

TEST(OpsError, Networks) {
  auto loss = [](const Tensor& logits, const Tensor& target) {
    return [=] { call(Op::cross_entropy, {logits, target, -100, 1, 0.0}); };
  };
  expect_error(ErrorCode::kDtype, "cross_entropy: target has dtype f32 and must be i64 or i32",
               loss(zeros({2, 3}), zeros({2})));
  expect_error(ErrorCode::kShape, "cross_entropy: target (3,) must have the shape of logits (2, 3)",
               loss(zeros({2, 3}), zeros({3}, DType::kI64)));
  expect_error(ErrorCode::kShape, "layer_norm: weight (4,) must be (3,)",
               [] { call(Op::layer_norm, {zeros({2, 3}), zeros({4}), Tensor(), 1e-5}); });
  expect_error(ErrorCode::kDtype, "embedding: indices has dtype f32",
               [] { call(Op::embedding, {zeros({4, 3}), zeros({2})}); });
  expect_error(ErrorCode::kUsage, "dropout: p is 1", [] { call(Op::dropout, {zeros({2}), 1.0}); });
  expect_error(ErrorCode::kDtype, "softmax: the tensor has dtype i32",
               [] { call(Op::softmax, {zeros({2}, DType::kI32), 0}); });
  expect_error(ErrorCode::kShape, "attention: q (1, 2, 3, 4), k (1, 3, 3, 4) and v (1, 3, 3, 4)",
               [] {
                 Tensor k = zeros({1, 3, 3, 4});
                 call(Op::attention, {zeros({1, 2, 3, 4}), k, k, false, 0.0});
               });
}

TEST(OpsError, PackedHeads) {
  expect_error(ErrorCode::kShape, "attention_packed: qkv (1, 2, 2, 3, 4) must be",
               [] { call(Op::attention_packed, {zeros({1, 2, 2, 3, 4}), false, 0.0}); });
  auto rotary = [](Dims x, Dims tables, DType dtype, int groups) {
    return
        [=] { call(Op::rotary, {zeros(x), zeros(tables, dtype), zeros(tables, dtype), groups}); };
  };
  const Dims x{1, 2, 3, 1, 4};
  expect_error(ErrorCode::kShape, "rotary: x (1, 2, 4) must be",
               rotary({1, 2, 4}, {2, 2}, DType::kF32, 0));
  expect_error(ErrorCode::kShape, "rotary: x (1, 2, 3, 1, 5) must be",
               rotary({1, 2, 3, 1, 5}, {2, 2}, DType::kF32, 0));
  expect_error(ErrorCode::kShape, "rotary: tables cos (1, 2) and sin (1, 2) must both be",
               rotary(x, {1, 2}, DType::kF32, 2));
  expect_error(ErrorCode::kDtype, "rotary: tables cos and sin must be f32",
               rotary(x, {2, 2}, DType::kF64, 2));
  expect_error(ErrorCode::kUsage, "rotary: groups is 4, x has 3",
               rotary(x, {2, 2}, DType::kF32, 4));
}

TEST(OpsError, Views) {
  Tensor x = zeros({2, 3});
  expect_error(ErrorCode::kShape, "view: shape (4, -1) does not hold the 6 elements of (2, 3)",
               [&] { call(Op::view, {x, Dims{4, -1}}); });
  expect_error(ErrorCode::kShape, "reshape: shape (-1, -1) has more than one -1",
               [&] { call(Op::reshape, {x, Dims{-1, -1}}); });
  expect_error(ErrorCode::kShape, "use reshape, which copies",
               [&] { call(Op::view, {call(Op::transpose, {x, 0, 1}), Dims{6}}); });
  expect_error(ErrorCode::kShape, "select: index 3 is out of range for dimension 1 of size 3",
               [&] { call(Op::select, {x, 1, 3}); });
  expect_error(ErrorCode::kShape, "narrow: start 2 and length 2",
               [&] { call(Op::narrow, {x, 1, 2, 2}); });
  expect_error(ErrorCode::kUsage, "slice: step 0", [&] { call(Op::slice, {x, 0, 0, 2, 0}); });
  expect_error(ErrorCode::kShape, "expand: shape (2, 3) does not expand to (4, 3)",
               [&] { call(Op::expand, {x, Dims{4, 3}}); });
  expect_error(ErrorCode::kUsage, "permute: dimension 0 appears twice",
               [&] { call(Op::permute, {x, Dims{0, 0}}); });
  expect_error(ErrorCode::kShape, "cat: tensor 1 has shape (2, 4) and tensor 0 has (2, 3)",
               [&] { call(Op::cat, {List{x, zeros({2, 4})}, 0}); });
  expect_error(ErrorCode::kUsage, "stack: the list of tensors is empty",
               [] { call(Op::stack, {List{}, 0}); });
  expect_error(ErrorCode::kShape, "gather: index (3, 1) must have the sizes of the tensor (2, 3)",
               [&] { call(Op::gather, {x, 1, zeros({3, 1}, DType::kI64)}); });
}

TEST(OpsError, InPlaceAndOptimizers) {
  Tensor x = zeros({2, 3});
  expect_error(ErrorCode::kShape, "add_: shape (4, 1, 3) does not broadcast to (2, 3)",
               [&] { call(Op::add_, {x, zeros({4, 1, 3})}); });
  expect_error(ErrorCode::kDtype, "div_: the result has dtype f32",
               [] { call(Op::div_, {zeros({2}, DType::kI64), zeros({2}, DType::kI64)}); });
  expect_error(ErrorCode::kDtype, "mul_scalar_: the result has dtype f32",
               [] { call(Op::mul_scalar_, {zeros({2}, DType::kI64), 0.5}); });
  expect_error(ErrorCode::kUsage, "sgd_step: 1 params and 0 grads", [&] {
    call(Op::sgd_step, {List{x}, List{}, List{}, 0.1, 0.0, 0.0, 0.0, false, true, Tensor()});
  });
  expect_error(ErrorCode::kShape, "adamw_step: gradient 0 has shape (3,)", [&] {
    call(Op::adamw_step,
         {List{x}, List{zeros({3})}, List{x}, List{x}, 0.1, 0.9, 0.99, 1e-8, 0.0, 1, Tensor()});
  });
  expect_error(ErrorCode::kUsage, "clip_grad_norm: the list of gradients is empty",
               [] { call(Op::clip_grad_norm, {List{}, 1.0}); });
}

TEST(OpsError, RandomNumbers) {
  ensure_registered();
  const int device = host().index();
  expect_error(ErrorCode::kUsage, "randint: low is 3 and high is 3",
               [=] { call(Op::randint, {Dims{2}, 3, 3, DType::kI64, device}); });
  expect_error(ErrorCode::kDtype, "normal: dtype i64",
               [=] { call(Op::normal, {Dims{2}, 0.0, 1.0, DType::kI64, device}); });
}

}  // namespace
}  // namespace weft::test
