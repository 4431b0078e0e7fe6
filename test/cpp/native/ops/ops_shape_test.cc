// Shape, dtype and value rules of the operators: broadcasting, promotion, negative dimensions,
// views, empty tensors. Each case was checked against what PyTorch gives.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/node.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft::test {
namespace {

using Values = std::vector<double>;

Tensor counted(const Dims& shape, DType dtype = DType::kF32) {
  ensure_registered();
  return make(shape, dtype, [](int64_t i) { return static_cast<double>(i); });
}
Tensor of(const Values& v, DType dtype = DType::kF32) {
  ensure_registered();
  return make({static_cast<int64_t>(v.size())}, dtype,
              [&](int64_t i) { return v[static_cast<size_t>(i)]; });
}

TEST(OpsShape, BroadcastAndPromotion) {
  struct {
    Op op;
    DType a, b, result;
  } cases[] = {
      {Op::add, DType::kF32, DType::kF32, DType::kF32},
      {Op::add, DType::kI32, DType::kF16, DType::kF16},
      {Op::mul, DType::kF16, DType::kBF16, DType::kF32},
      {Op::add, DType::kU8, DType::kI64, DType::kI64},
      {Op::div, DType::kI32, DType::kI32, DType::kF32},
      {Op::div, DType::kI32, DType::kF64, DType::kF64},
      {Op::lt, DType::kF32, DType::kI64, DType::kBool},
      {Op::eq, DType::kBool, DType::kBool, DType::kBool},
      {Op::add, DType::kBool, DType::kBool, DType::kBool},
      {Op::pow, DType::kI32, DType::kI32, DType::kI32},
      {Op::maximum, DType::kU8, DType::kF64, DType::kF64},
  };
  for (auto& c : cases) {
    Tensor out = call(c.op, {counted({3, 1}, c.a), counted({2, 1, 4}, c.b)});
    EXPECT_EQ(out.dtype(), c.result) << op_name(c.op) << dtype_name(c.a) << dtype_name(c.b);
    EXPECT_EQ(out.shape(), (Dims{2, 3, 4}));
  }
  EXPECT_EQ(values(call(Op::sub, {counted({2, 1}), counted({3}, DType::kI64)})),
            (Values{0, -1, -2, 1, 0, -1}));
  Tensor condition = of({1, 0, 1}, DType::kBool);
  Tensor chosen = call(Op::where, {condition, of({1, 2, 3}, DType::kI32), of({0.5}, DType::kF64)});
  EXPECT_EQ(chosen.dtype(), DType::kF64);
  EXPECT_EQ(values(chosen), (Values{1, 0.5, 3}));
}

TEST(OpsShape, NumbersKeepTheTensorsDtypeWhereTheyCan) {
  Tensor i = of({1, 2}, DType::kI32);
  EXPECT_EQ(call(Op::add_scalar, {i, 2.0}).dtype(), DType::kI32);
  EXPECT_EQ(call(Op::add_scalar, {i, 2.5}).dtype(), DType::kF32);
  EXPECT_EQ(call(Op::div_scalar, {i, 2.0}).dtype(), DType::kF32);
  EXPECT_EQ(values(call(Op::rdiv_scalar, {i, 3.0})), (Values{3, 1.5}));
  EXPECT_EQ(values(call(Op::rsub_scalar, {i, 3.0})), (Values{2, 1}));
  EXPECT_EQ(call(Op::add_scalar, {of({1}, DType::kBool), 1.0}).dtype(), DType::kI64);
  EXPECT_EQ(call(Op::add_scalar, {of({1}, DType::kBF16), 0.5}).dtype(), DType::kBF16);
  Tensor less = call(Op::lt_scalar, {i, 1.5});
  EXPECT_EQ(less.dtype(), DType::kBool);
  EXPECT_EQ(values(less), (Values{1, 0}));
  EXPECT_EQ(values(call(Op::pow_scalar, {i, 3.0})), (Values{1, 8}));
}

TEST(OpsShape, UnaryDtypes) {
  Tensor i = of({0, 4}, DType::kI32);
  EXPECT_EQ(values(call(Op::sqrt, {i})), (Values{0, 2}));
  EXPECT_EQ(call(Op::sqrt, {i}).dtype(), DType::kF32);
  EXPECT_EQ(call(Op::neg, {i}).dtype(), DType::kI32);
  EXPECT_EQ(values(call(Op::clamp, {i, 1.0, std::nan("")})), (Values{1, 4}));
  EXPECT_EQ(call(Op::clamp, {i, 0.5, 2.0}).dtype(), DType::kF32);
  EXPECT_EQ(values(call(Op::logical_not, {i})), (Values{1, 0}));
  EXPECT_EQ(values(call(Op::isfinite, {i})), (Values{1, 1}));
  EXPECT_EQ(values(call(Op::isfinite, {of({1.0, std::numeric_limits<double>::infinity()})})),
            (Values{1, 0}));
}

TEST(OpsShape, Creation) {
  const int device = host().index();
  ensure_registered();
  EXPECT_EQ(values(call(Op::full, {Dims{2}, 3.0, DType::kI64, device})), (Values{3, 3}));
  EXPECT_EQ(values(call(Op::arange, {1.0, 0.5, 3, DType::kF32, device})), (Values{1, 1.5, 2}));
  EXPECT_EQ(call(Op::arange, {0.0, 1.0, 0, DType::kI64, device}).shape(), (Dims{0}));
  for (double v : values(call(Op::randint, {Dims{64}, 2, 5, DType::kI64, device}))) {
    EXPECT_TRUE(v >= 2 && v < 5);
  }
  for (double v : values(call(Op::uniform, {Dims{64}, -1.0, 1.0, DType::kF32, device}))) {
    EXPECT_TRUE(v >= -1 && v < 1);
  }
  EXPECT_EQ(call(Op::normal, {Dims{0, 3}, 0.0, 1.0, DType::kF32, device}).numel(), 0);
}

TEST(OpsShape, Reductions) {
  Tensor x = counted({2, 3, 4}, DType::kI32);
  Tensor all = call(Op::sum, {x, Dims{}, false});
  EXPECT_EQ(all.dtype(), DType::kI64);
  EXPECT_EQ(all.shape(), Dims{});
  EXPECT_EQ(values(all)[0], 276);
  EXPECT_EQ(call(Op::sum, {x, Dims{0, -1}, true}).shape(), (Dims{1, 3, 1}));
  EXPECT_EQ(values(call(Op::sum, {x, Dims{0, -1}, false})), (Values{60, 92, 124}));
  EXPECT_EQ(call(Op::sum, {of({1, 1}, DType::kBool), Dims{}, false}).dtype(), DType::kI64);
  Tensor turned = call(Op::permute, {x, Dims{2, 0, 1}});  // (4, 2, 3)
  EXPECT_EQ(values(call(Op::amax, {turned, Dims{0, 2}, false})), (Values{11, 23}));
  EXPECT_EQ(values(call(Op::sum, {turned, Dims{1}, false}))[1], 4 + 16);
  EXPECT_EQ(values(call(Op::argmax, {of({1, 5, 5}), Dims{}, false})), (Values{1}));
  EXPECT_EQ(values(call(Op::argmax, {turned, Dims{}, false})), (Values{23}));
  EXPECT_EQ(values(call(Op::argmax, {x, Dims{1}, true})), Values(8, 2));
  EXPECT_EQ(values(call(Op::var, {of({1, 2, 3, 4}), Dims{}, 0.0, false})), (Values{1.25}));
  EXPECT_EQ(values(call(Op::sum, {of({7}), Dims{0}, false})), (Values{7}));
}

TEST(OpsShape, EmptyTensors) {
  Tensor none = counted({0, 3});
  EXPECT_EQ(call(Op::add, {none, of({1, 2, 3})}).shape(), (Dims{0, 3}));
  EXPECT_EQ(values(call(Op::sum, {none, Dims{}, false})), (Values{0}));
  EXPECT_EQ(values(call(Op::sum, {none, Dims{0}, false})), (Values{0, 0, 0}));
  EXPECT_EQ(call(Op::amax, {none, Dims{1}, false}).shape(), (Dims{0}));
  EXPECT_TRUE(std::isnan(values(call(Op::mean, {none, Dims{}, false}))[0]));
  EXPECT_EQ(values(call(Op::matmul, {counted({2, 0}), counted({0, 2})})), (Values{0, 0, 0, 0}));
  EXPECT_EQ(call(Op::matmul, {none, counted({3, 2})}).shape(), (Dims{0, 2}));
  EXPECT_EQ(call(Op::matmul, {counted({4, 0, 3}), counted({3, 2})}).shape(), (Dims{4, 0, 2}));
  EXPECT_EQ(call(Op::softmax, {none, -1}).shape(), (Dims{0, 3}));
  EXPECT_EQ(call(Op::softmax, {none, 0}).shape(), (Dims{0, 3}));
  EXPECT_EQ(call(Op::layer_norm, {none, Tensor(), Tensor(), 1e-5}).shape(), (Dims{0, 3}));
  EXPECT_EQ(call(Op::linear, {none, counted({2, 3}), Tensor(), false}).shape(), (Dims{0, 2}));
  Tensor no_target = counted({0}, DType::kI64);
  EXPECT_TRUE(std::isnan(values(call(Op::cross_entropy, {none, no_target, -100, 1, 0.0}))[0]));
  EXPECT_EQ(values(call(Op::cross_entropy, {none, no_target, -100, 2, 0.0})), (Values{0}));
  EXPECT_EQ(call(Op::embedding, {counted({4, 3}), counted({0, 2}, DType::kI64)}).shape(),
            (Dims{0, 2, 3}));
  EXPECT_EQ(call(Op::cat, {std::vector<Tensor>{none, counted({2, 3})}, 0}).shape(), (Dims{2, 3}));
  EXPECT_EQ(call(Op::reshape, {none, Dims{3, -1}}).shape(), (Dims{3, 0}));
  EXPECT_EQ(call(Op::dropout, {none, 0.5}).shape(), (Dims{0, 3}));
}

TEST(OpsShape, MatmulFollowsTorch) {
  struct {
    Dims a, b, out;
  } cases[] = {
      {{3}, {3}, {}},
      {{2, 3}, {3}, {2}},
      {{3}, {3, 4}, {4}},
      {{5, 2, 3}, {3}, {5, 2}},
      {{3}, {5, 3, 4}, {5, 4}},
      {{5, 1, 2, 3}, {6, 3, 4}, {5, 6, 2, 4}},
      {{5, 2, 3}, {3, 4}, {5, 2, 4}},
  };
  for (auto& c : cases) {
    EXPECT_EQ(call(Op::matmul, {counted(c.a), counted(c.b)}).shape(), c.out) << to_string(c.a);
  }
  Tensor a = counted({2, 3}), b = counted({2, 3});
  EXPECT_EQ(values(call(Op::matmul, {a, transposed(b)})), (Values{5, 14, 14, 50}));
  EXPECT_EQ(values(call(Op::matmul, {transposed(a), b})),
            (Values{9, 12, 15, 12, 17, 22, 15, 22, 29}));
  Tensor spread = call(Op::expand, {of({1, 2, 3}), Dims{2, 3}});
  EXPECT_EQ(values(call(Op::matmul, {spread, of({1, 1, 1})})), (Values{6, 6}));
  Tensor every_second = call(Op::slice, {counted({2, 6}), 1, 0, 6, 2});
  EXPECT_EQ(values(call(Op::matmul, {every_second, of({1, 1, 1})})), (Values{6, 24}));
}

TEST(OpsShape, Views) {
  Tensor x = counted({2, 3, 4});
  EXPECT_EQ(call(Op::view, {x, Dims{-1, 4}}).shape(), (Dims{6, 4}));
  Tensor turned = call(Op::transpose, {x, 0, 1});  // (3, 2, 4)
  EXPECT_TRUE(call(Op::view, {turned, Dims{3, 2, 2, 2}})->storage == x->storage);
  EXPECT_FALSE(call(Op::reshape, {turned, Dims{6, 4}})->storage == x->storage);
  EXPECT_EQ(values(call(Op::reshape, {turned, Dims{6, 4}}))[4], 12);
  EXPECT_EQ(values(call(Op::select, {x, -1, -1})), (Values{3, 7, 11, 15, 19, 23}));
  Tensor v = counted({6});
  EXPECT_EQ(values(call(Op::slice, {v, 0, -4, 100, 2})), (Values{2, 4}));
  EXPECT_EQ(values(call(Op::slice, {v, 0, 1, -1, 1})), (Values{1, 2, 3, 4}));
  EXPECT_EQ(call(Op::slice, {v, 0, 4, 2, 1}).shape(), (Dims{0}));
  EXPECT_EQ(values(call(Op::narrow, {v, 0, -2, 2})), (Values{4, 5}));
  EXPECT_EQ(call(Op::expand, {counted({3, 1}), Dims{2, -1, 4}}).shape(), (Dims{2, 3, 4}));
  EXPECT_EQ(call(Op::squeeze, {counted({1, 3, 1}), Dims{}}).shape(), (Dims{3}));
  EXPECT_EQ(call(Op::squeeze, {counted({1, 3, 1}), Dims{-1, 1}}).shape(), (Dims{1, 3}));
  EXPECT_EQ(call(Op::unsqueeze, {v, -1}).shape(), (Dims{6, 1}));
  EXPECT_EQ(call(Op::permute, {x, Dims{-1, 0, 1}}).shape(), (Dims{4, 2, 3}));
}

TEST(OpsShape, JoiningConvertsAndOrders) {
  Tensor joined =
      call(Op::cat, {std::vector<Tensor>{of({1, 2}, DType::kI32), of({0.5}, DType::kF32)}, 0});
  EXPECT_EQ(joined.dtype(), DType::kF32);
  EXPECT_EQ(values(joined), (Values{1, 2, 0.5}));
  Tensor stacked = call(Op::stack, {std::vector<Tensor>{of({1, 2}), of({3, 4})}, -1});
  EXPECT_EQ(values(stacked), (Values{1, 3, 2, 4}));
}

TEST(OpsShape, ResultsThatNobodyElseHoldsAreNoViews) {
  Tensor x = counted({2, 3, 4});
  EXPECT_FALSE(call(Op::matmul, {x, counted({4, 2})})->is_view);
  EXPECT_FALSE(call(Op::softmax, {x, 0})->is_view);
  Tensor q = counted({1, 2, 3, 4});
  EXPECT_FALSE(call(Op::attention, {q, q, q, false, 0.0})->is_view);
  EXPECT_TRUE(call(Op::contiguous, {x})->is_view);
}

TEST(OpsShape, InPlaceKeepsTheDtype) {
  Tensor a = of({1, 2}, DType::kBF16);
  call(Op::add_, {a, of({0.5}, DType::kF32)});
  EXPECT_EQ(a.dtype(), DType::kBF16);
  EXPECT_EQ(values(a), (Values{1.5, 2.5}));
  Tensor i = of({1, 2}, DType::kI32);
  call(Op::copy_, {i, of({3.7, -1.2})});
  EXPECT_EQ(values(i), (Values{3, -1}));
  Tensor there = call(Op::to_device, {a, static_cast<int>(fabric::open_device("host:1").index())});
  call(Op::copy_, {i, there});
  EXPECT_EQ(values(i), (Values{1, 2}));
}

TEST(OpsShape, OptimizersStepAndClip) {
  using List = std::vector<Tensor>;
  Tensor p = of({1, 2}), g = of({3, 4});
  Tensor norm = call(Op::clip_grad_norm, {List{g}, 2.5});
  EXPECT_NEAR(values(norm)[0], 5, 1e-6);
  EXPECT_NEAR(values(g)[1], 2, 1e-5);
  const uint32_t before = p->storage->version();
  call(Op::sgd_step, {List{p}, List{g}, List{}, 0.5, 0.0, 0.0, 0.0, false, true, Tensor()});
  EXPECT_NEAR(values(p)[0], 1 - 0.75, 1e-5);
  EXPECT_EQ(p->storage->version(), before + 1);
  Tensor m = of({0, 0}), v = of({0, 0});
  call(Op::adamw_step,
       {List{p}, List{g}, List{m}, List{v}, 0.1, 0.9, 0.999, 1e-8, 0.0, 1, Tensor()});
  EXPECT_NEAR(values(p)[0], 0.25 - 0.1, 1e-4);
}

}  // namespace
}  // namespace weft::test
