// Gradient formulas of the elementwise operators, reductions, products and views against finite
// differences. Those of network operators are in ops_gradient_network_test.cc.
#include <limits>

#include "gradient_check.h"

namespace weft::test {
namespace {

constexpr double kNoBound = std::numeric_limits<double>::quiet_NaN();

Function binary_of(Op op) {
  return [op](const Tensors& x) { return call(op, {x[0], x[1]}); };
}

TEST(OpsGradient, TwoTensors) {
  for (Op op : {Op::add, Op::sub, Op::mul, Op::maximum, Op::minimum}) {
    check_gradient(op_name(op), {{3, 4}, {3, 4}}, binary_of(op));
    check_gradient(std::string(op_name(op)) + " broadcast", {{3, 1}, {2, 1, 4}}, binary_of(op));
    check_gradient(std::string(op_name(op)) + " with 0-d", {{}, {2, 3}}, binary_of(op));
  }
  CheckOptions away{.low = 0.5, .high = 2};
  check_gradient("div", {{3, 4}, {3, 4}}, binary_of(Op::div), away);
  check_gradient("div broadcast", {{4}, {3, 1}}, binary_of(Op::div), away);
  check_gradient("pow", {{3, 4}, {3, 4}}, binary_of(Op::pow), away);
  check_gradient("pow broadcast", {{3, 1}, {4}}, binary_of(Op::pow), away);
}

TEST(OpsGradient, Where) {
  Tensor condition = make({3, 4}, DType::kBool, [](int64_t i) { return i % 3 == 0; });
  auto f = [&](const Tensors& x) { return call(Op::where, {condition, x[0], x[1]}); };
  check_gradient("where", {{3, 4}, {3, 4}}, f);
  check_gradient("where broadcast", {{4}, {2, 3, 1}}, f);
}

TEST(OpsGradient, TensorAndNumber) {
  for (Op op : {Op::add_scalar, Op::sub_scalar, Op::rsub_scalar, Op::mul_scalar, Op::div_scalar,
                Op::maximum_scalar, Op::minimum_scalar}) {
    check_gradient(op_name(op), {{3, 4}},
                   [op](const Tensors& x) { return call(op, {x[0], 0.3125}); });
  }
  CheckOptions away{.low = 0.5, .high = 2};
  check_gradient(
      "rdiv_scalar", {{3, 4}}, [](const Tensors& x) { return call(Op::rdiv_scalar, {x[0], 1.5}); },
      away);
  for (double exponent : {0.0, 0.5, 1.0, 2.0, 3.0, -1.5}) {
    check_gradient(
        "pow_scalar", {{3, 4}},
        [=](const Tensors& x) { return call(Op::pow_scalar, {x[0], exponent}); }, away);
  }
}

TEST(OpsGradient, OneTensor) {
  for (Op op : {Op::neg, Op::abs, Op::sign, Op::exp, Op::sin, Op::cos, Op::tanh, Op::sigmoid,
                Op::relu, Op::silu}) {
    check_gradient(op_name(op), {{3, 4}}, [op](const Tensors& x) { return call(op, {x[0]}); });
  }
  CheckOptions away{.low = 0.5, .high = 2};
  for (Op op : {Op::reciprocal, Op::log, Op::sqrt, Op::rsqrt}) {
    check_gradient(
        op_name(op), {{3, 4}}, [op](const Tensors& x) { return call(op, {x[0]}); }, away);
  }
  for (bool tanh : {false, true}) {
    check_gradient("gelu", {{3, 4}},
                   [=](const Tensors& x) { return call(Op::gelu, {x[0], tanh}); });
  }
  for (double beta : {1.0, 2.5}) {
    check_gradient("softplus", {{3, 4}},
                   [=](const Tensors& x) { return call(Op::softplus, {x[0], beta, 20.0}); });
  }
  check_gradient("clamp", {{3, 4}},
                 [](const Tensors& x) { return call(Op::clamp, {x[0], -0.4, 0.5}); });
  check_gradient("clamp low", {{3, 4}},
                 [](const Tensors& x) { return call(Op::clamp, {x[0], 0.1, kNoBound}); });
}

TEST(OpsGradient, Reductions) {
  for (Op op : {Op::sum, Op::mean, Op::amax, Op::amin}) {
    for (bool keep : {false, true}) {
      for (const Dims& dims : {Dims{}, Dims{0}, Dims{-1}, Dims{0, 2}}) {
        check_gradient(std::string(op_name(op)) + " over " + to_string(dims), {{3, 4, 2}},
                       [=](const Tensors& x) { return call(op, {x[0], dims, keep}); });
      }
    }
  }
  for (const Dims& dims : {Dims{}, Dims{1}, Dims{0, 2}}) {
    check_gradient("var over " + to_string(dims), {{3, 4, 2}},
                   [=](const Tensors& x) { return call(Op::var, {x[0], dims, 1.0, false}); });
  }
  check_gradient("sum of 0-d", {Dims{}},
                 [](const Tensors& x) { return call(Op::sum, {x[0], Dims{}, false}); });
}

TEST(OpsGradient, EqualExtremesShareTheGradient) {
  Tensor x = make({4}, DType::kF64, [](int64_t i) { return i == 1 ? 0 : 2; });
  set_requires_grad(x, true);
  Tensor y = call(Op::amax, {x, Dims{}, false});
  Tensor none;
  backward({&y, 1}, {&none, 1});
  EXPECT_EQ(values(x->autograd->grad), (std::vector<double>{1.0 / 3, 0, 1.0 / 3, 1.0 / 3}));
}

TEST(OpsGradient, EqualOperandsOfMaximumTakeHalfEach) {
  Tensor a = make({2}, DType::kF64, [](int64_t) { return 2; });
  Tensor b = call(Op::clone, {a});
  set_requires_grad(a, true);
  set_requires_grad(b, true);
  Tensor y = call(Op::sum, {call(Op::maximum, {a, b}), Dims{}, false});
  Tensor none;
  backward({&y, 1}, {&none, 1});
  EXPECT_EQ(values(a->autograd->grad), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(values(b->autograd->grad), (std::vector<double>{0.5, 0.5}));
}

TEST(OpsGradient, Matmul) {
  const std::vector<std::vector<Dims>> pairs = {
      {{3, 4}, {4, 2}},       {{4}, {4}},
      {{4}, {4, 2}},          {{3, 4}, {4}},
      {{2, 3, 4}, {4, 2}},    {{2, 3, 4}, {4}},
      {{4}, {2, 4, 3}},       {{3, 4}, {2, 4, 2}},
      {{2, 3, 4}, {2, 4, 2}}, {{2, 1, 3, 4}, {3, 4, 2}},
      {{1, 3, 4}, {5, 4, 2}}, {{1, 4}, {4, 1}},
  };
  for (const auto& shapes : pairs) {
    check_gradient("matmul " + to_string(shapes[0]) + to_string(shapes[1]), shapes,
                   binary_of(Op::matmul));
  }
}

TEST(OpsGradient, Views) {
  check_gradient("view", {{3, 4}}, [](const Tensors& x) {
    return call(Op::view, {call(Op::contiguous, {x[0]}), Dims{2, -1}});
  });
  check_gradient("reshape", {{3, 4}},
                 [](const Tensors& x) { return call(Op::reshape, {x[0], Dims{2, -1}}); });
  check_gradient("transpose", {{3, 4, 2}},
                 [](const Tensors& x) { return call(Op::transpose, {x[0], 0, -1}); });
  check_gradient("permute", {{3, 4, 2}},
                 [](const Tensors& x) { return call(Op::permute, {x[0], Dims{1, -1, 0}}); });
  check_gradient("select", {{3, 4}},
                 [](const Tensors& x) { return call(Op::select, {x[0], 1, -2}); });
  check_gradient("narrow", {{3, 4}},
                 [](const Tensors& x) { return call(Op::narrow, {x[0], 1, 1, 2}); });
  check_gradient("slice", {{3, 7}},
                 [](const Tensors& x) { return call(Op::slice, {x[0], 1, -6, 100, 2}); });
  check_gradient("expand", {{3, 1}},
                 [](const Tensors& x) { return call(Op::expand, {x[0], Dims{2, -1, 4}}); });
  check_gradient("squeeze", {{3, 1, 4, 1}},
                 [](const Tensors& x) { return call(Op::squeeze, {x[0], Dims{}}); });
  check_gradient("unsqueeze", {{3, 4}},
                 [](const Tensors& x) { return call(Op::unsqueeze, {x[0], -1}); });
}

TEST(OpsGradient, JoiningAndMovement) {
  check_gradient("cat", {{3, 4}, {3, 2}, {3, 1}},
                 [](const Tensors& x) { return call(Op::cat, {x, -1}); });
  check_gradient("cat first", {{1, 4}, {3, 4}},
                 [](const Tensors& x) { return call(Op::cat, {x, 0}); });
  check_gradient("stack", {{3, 4}, {3, 4}},
                 [](const Tensors& x) { return call(Op::stack, {x, 1}); });
  check_gradient("contiguous", {{3, 4}},
                 [](const Tensors& x) { return call(Op::contiguous, {x[0]}); });
  check_gradient("clone", {{3, 4}}, [](const Tensors& x) { return call(Op::clone, {x[0]}); });
  check_gradient("to_dtype same", {{3, 4}},
                 [](const Tensors& x) { return call(Op::to_dtype, {x[0], DType::kF64}); });
  check_gradient("to_dtype", {{3, 4}},
                 [](const Tensors& x) { return call(Op::to_dtype, {x[0], DType::kF32}); },
                 {.step = 1e-3, .tolerance = 1e-3});
  Device& other = fabric::open_device("host:1");
  check_gradient("to_device", {{3, 4}}, [&](const Tensors& x) {
    Tensor there = call(Op::to_device, {x[0], static_cast<int>(other.index())});
    EXPECT_EQ(&there.device(), &other);
    there = call(Op::mul, {there, there});
    return call(Op::to_device, {there, static_cast<int>(host().index())});
  });
}

TEST(OpsGradient, Gather) {
  for (int dim = 0; dim < 3; ++dim) {
    Dims shape{2, 3, 4};
    Dims count = shape;
    count[dim] = 5;
    Tensor index = make(count, DType::kI64, [&](int64_t i) { return (i * 7 + 1) % shape[dim]; });
    check_gradient("gather", {shape},
                   [&](const Tensors& x) { return call(Op::gather, {x[0], dim, index}); });
  }
}

TEST(OpsGradient, InPlace) {
  // A leaf cannot be changed in place: each case changes a copy of its first input.
  CheckOptions away{.low = 0.5, .high = 2};
  for (Op op : {Op::add_, Op::sub_, Op::mul_, Op::div_, Op::copy_}) {
    auto f = [op](const Tensors& x) {
      Tensor a = call(Op::mul_scalar, {x[0], 2.0});
      call(op, {a, x[1]});
      return a;
    };
    check_gradient(op_name(op), {{3, 4}, {3, 4}}, f, away);
    check_gradient(std::string(op_name(op)) + " broadcast", {{3, 4}, {3, 1}}, f, away);
  }
  for (Op op : {Op::add_scalar_, Op::mul_scalar_, Op::fill_}) {
    check_gradient(op_name(op), {{3, 4}}, [op](const Tensors& x) {
      Tensor a = call(Op::mul_scalar, {x[0], 2.0});
      call(op, {a, 3.0});
      return call(Op::add, {a, x[0]});
    });
  }
  check_gradient("zero_", {{3, 4}}, [](const Tensors& x) {
    Tensor a = call(Op::mul_scalar, {x[0], 2.0});
    call(Op::zero_, {a});
    return call(Op::add, {a, x[0]});
  });
}

TEST(OpsGradient, MixedDtypesGiveEachInputItsOwn) {
  Tensor a = make({2, 3}, DType::kBF16, [](int64_t) { return 2; });
  Tensor b = make({3}, DType::kF32, [](int64_t) { return 3; });
  set_requires_grad(a, true);
  set_requires_grad(b, true);
  Tensor y = call(Op::sum, {call(Op::mul, {a, b}), Dims{}, false});
  EXPECT_EQ(y.dtype(), DType::kF32);
  Tensor none;
  backward({&y, 1}, {&none, 1});
  EXPECT_EQ(a->autograd->grad.dtype(), DType::kBF16);
  EXPECT_EQ(b->autograd->grad.dtype(), DType::kF32);
  EXPECT_EQ(values(b->autograd->grad), (std::vector<double>{4, 4, 4}));
}

}  // namespace
}  // namespace weft::test
