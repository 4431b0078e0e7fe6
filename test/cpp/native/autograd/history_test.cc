// Histories of tensors that share memory: in-place writes with an aliased operand, views made before
// their base had a history, and that a history never keeps itself alive.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using test::host;
using test::make;
using test::values;

Tensor counted(const Dims& shape, double first = 1) {
  ensure_registered();
  return make(shape, DType::kF32, [first](int64_t i) { return first + static_cast<double>(i); });
}
Tensor leaf(const Dims& shape, double first = 1) {
  Tensor t = counted(shape, first);
  set_requires_grad(t, true);
  return t;
}
void run(const Tensor& root) {
  Tensor none, sum = call(Op::sum, {root, Dims{}, false});
  backward({&sum, 1}, {&none, 1});
}
std::vector<double> grad(const Tensor& t) { return values(t->autograd->grad); }
std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return error.message();
  }
  return "nothing was refused";
}

TEST(History, MulOfATensorByItselfInPlaceHasTheGradientOfTheSquare) {
  Tensor x = leaf({3});
  Tensor y = call(Op::mul_scalar, {x, 1.0});
  call(Op::mul_, {y, y});
  run(y);
  EXPECT_EQ(values(y), (std::vector<double>{1, 4, 9}));
  EXPECT_EQ(grad(x), (std::vector<double>{2, 4, 6}));
}

TEST(History, DivOfATensorByItselfInPlaceHasNoGradient) {
  Tensor x = leaf({3});
  Tensor y = call(Op::mul_scalar, {x, 1.0});
  call(Op::div_, {y, y});
  run(y);
  EXPECT_EQ(grad(x), (std::vector<double>{0, 0, 0}));
}

TEST(History, AViewOfTheWrittenTensorAsOperandCountsWithItsOldValue) {
  Tensor x = leaf({3});
  Tensor y = call(Op::mul_scalar, {x, 1.0});
  Tensor same = call(Op::view, {y, Dims{3}});
  call(Op::mul_, {y, same});
  run(y);
  EXPECT_EQ(grad(x), (std::vector<double>{2, 4, 6}));
}

TEST(History, AddAndCopyOfATensorOntoItselfKeepTheirGradients) {
  Tensor x = leaf({2});
  Tensor y = call(Op::mul_scalar, {x, 3.0});
  call(Op::add_, {y, y});
  call(Op::copy_, {y, y});
  run(y);
  EXPECT_EQ(grad(x), (std::vector<double>{6, 6}));
}

TEST(History, AnOperandSavedBeforeTheWriteIsStillAnErrorAtBackward) {
  Tensor x = leaf({2});
  Tensor y = call(Op::mul_scalar, {x, 2.0});
  Tensor z = call(Op::mul, {y, x});
  call(Op::mul_, {y, y});
  EXPECT_NE(refusal([&] { run(z); }).find("changed in place by mul_"), std::string::npos);
}

TEST(History, AViewMadeBeforeItsBaseHadAHistoryIsRefused) {
  Tensor w = leaf({4});
  Tensor y = counted({4}, 0);
  Tensor v = call(Op::view, {y, Dims{2, 2}});
  call(Op::add_, {y, w});
  const std::string said = refusal([&] { call(Op::exp, {v}); });
  EXPECT_NE(said.find("exp"), std::string::npos) << said;
  EXPECT_NE(said.find("add_"), std::string::npos) << said;
  // A view made now has it all.
  run(call(Op::mul_scalar, {call(Op::view, {y, Dims{2, 2}}), 5.0}));
  EXPECT_EQ(grad(w), (std::vector<double>{5, 5, 5, 5}));
}

TEST(History, AViewOfAViewMadeTooEarlyIsRefusedToo) {
  Tensor w = leaf({4});
  Tensor y = counted({4}, 0);
  Tensor v = call(Op::view, {call(Op::view, {y, Dims{2, 2}}), Dims{4, 1}});
  call(Op::add_, {y, w});
  refusal([&] { call(Op::mul, {v, counted({1})}); });
}

TEST(History, WhatIsDetachedOrReadWithoutRecordingIsNotRefused) {
  Tensor w = leaf({4});
  Tensor y = counted({4}, 0);
  Tensor v = call(Op::view, {y, Dims{2, 2}}), d = call(Op::detach, {v});
  call(Op::add_, {y, w});
  EXPECT_NO_THROW(call(Op::mul_scalar, {d, 2.0}));
  NoGradGuard off;
  EXPECT_NO_THROW(call(Op::mul_scalar, {v, 2.0}));
}

TEST(History, APlainWriteDoesNotEndAViewWithoutHistory) {
  Tensor y = counted({4}, 0);
  Tensor v = call(Op::view, {y, Dims{2, 2}});
  call(Op::add_scalar_, {y, 1.0});
  EXPECT_NO_THROW(call(Op::mul_scalar, {v, 2.0}));
}

TEST(History, NothingKeepsItselfAliveWithoutABackwardPass) {
  const int64_t before = tensor_counts(host()).tensors;
  {
    Tensor x = leaf({3});
    Tensor y = call(Op::mul_scalar, {x, 1.0});
    call(Op::mul_, {y, y});
    Tensor z = call(Op::mul_scalar, {x, 2.0});
    call(Op::add_, {z, call(Op::mul, {z, x})});  // z's new history saved z
    Tensor plain = counted({3});
    call(Op::mul_, {plain, call(Op::mul, {x, plain})});
  }
  EXPECT_EQ(tensor_counts(host()).tensors, before);
}

}  // namespace
}  // namespace weft
