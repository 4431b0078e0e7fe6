// Unary, binary and ternary kernels of the host driver against naive references in f64, over
// layouts and dtypes.
#include <gtest/gtest.h>

#include "cpu/register.h"
#include "host_values.h"

namespace weft::test {
namespace {

using Pair = std::pair<Tensor, Tensor>;  // two operands that broadcast to the shape of the first

/// Pairs of operands over the layouts that take different paths through the loop.
std::vector<Pair> layouts(DType dtype, double range) {
  auto value = [=](int64_t i) { return scattered(i, dtype, range); };
  auto other = [=](int64_t i) { return scattered(i + 17, dtype, range); };
  std::vector<Pair> list;
  list.emplace_back(make({}, dtype, value), make({}, dtype, other));
  list.emplace_back(make({1}, dtype, value), make({1}, dtype, other));
  list.emplace_back(make({0, 3}, dtype, value), make({0, 3}, dtype, other));
  list.emplace_back(make({1031}, dtype, value), make({1031}, dtype, other));
  list.emplace_back(make({70001}, dtype, value), make({70001}, dtype, other));
  list.emplace_back(transposed(make({37, 53}, dtype, value)), make({53, 37}, dtype, other));
  list.emplace_back(make({300, 301}, dtype, value), transposed(make({301, 300}, dtype, other)));
  list.emplace_back(make({129, 7}, dtype, value), make({7}, dtype, other));        // short rows
  list.emplace_back(make({33, 1025}, dtype, value), make({1025}, dtype, other));   // long rows
  list.emplace_back(make({33, 1025}, dtype, value), make({33, 1}, dtype, other));  // row scalars
  list.emplace_back(make({5, 4, 3, 2}, dtype, value), make({4, 1, 2}, dtype, other));
  list.emplace_back(make({2000, 11}, dtype, value), make({1}, dtype, other));  // one value
  Tensor base = make({64, 200}, dtype, value);
  list.emplace_back(make_view(base, {64, 99}, {200, 2}, 1), make({64, 99}, dtype, other));
  return list;
}

std::vector<double> broadcast_values(const Tensor& t, const Dims& shape) {
  Dims strides;
  for (int d = 0; d < shape.n; ++d) {
    int from = d - (shape.n - t.rank());
    strides.push(from >= 0 && t.shape()[from] != 1 ? t.strides()[from] : 0);
  }
  return values(make_view(t, shape, strides, t->offset));
}

void check_binary(BinaryOp op, DType dtype, double range, double (*reference)(double, double),
                  bool to_bool = false) {
  for (auto& [a, b] : layouts(dtype, range)) {
    Tensor out = empty(a.shape(), to_bool ? DType::kBool : dtype, host());
    cpu::binary(op, TensorIterator::build({&out, &a, &b}, "test"), {}, stream());
    auto got = values(out), va = values(a), vb = broadcast_values(b, a.shape());
    for (size_t i = 0; i < got.size(); ++i) {
      double want = rounded(reference(va[i], vb[i]), dtype);
      if (dtype == DType::kU8 && !to_bool) want = static_cast<uint8_t>(static_cast<int64_t>(want));
      ASSERT_TRUE(close(got[i], want, tolerance(dtype)))
          << dtype_name(dtype) << " op " << int(op) << " shape " << to_string(a.shape()) << " at "
          << i << ": " << va[i] << ", " << vb[i] << " gives " << got[i] << ", not " << want;
    }
  }
}

TEST(Binary, ArithmeticOfAllDtypes) {
  for (DType t : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI64, DType::kI32,
                  DType::kU8}) {
    check_binary(BinaryOp::kAdd, t, 9, [](double a, double b) { return a + b; });
    check_binary(BinaryOp::kSub, t, 9, [](double a, double b) { return a - b; });
    check_binary(BinaryOp::kMul, t, 9, [](double a, double b) { return a * b; });
    check_binary(BinaryOp::kMaximum, t, 9, [](double a, double b) { return std::fmax(a, b); });
    check_binary(BinaryOp::kMinimum, t, 9, [](double a, double b) { return std::fmin(a, b); });
    if (is_floating(t))
      check_binary(BinaryOp::kDiv, t, 9, [](double a, double b) { return a / b; });
  }
  check_binary(BinaryOp::kPow, DType::kU8, 4, [](double a, double b) { return std::pow(a, b); });
}

TEST(Binary, ComparisonsOfAllDtypes) {
  for (DType t : kAllDTypes) {
    check_binary(BinaryOp::kEq, t, 3, [](double a, double b) { return double(a == b); }, true);
    check_binary(BinaryOp::kNe, t, 3, [](double a, double b) { return double(a != b); }, true);
    check_binary(BinaryOp::kLt, t, 3, [](double a, double b) { return double(a < b); }, true);
    check_binary(BinaryOp::kLe, t, 3, [](double a, double b) { return double(a <= b); }, true);
    check_binary(BinaryOp::kGt, t, 3, [](double a, double b) { return double(a > b); }, true);
    check_binary(BinaryOp::kGe, t, 3, [](double a, double b) { return double(a >= b); }, true);
  }
}

TEST(Binary, Gradients) {
  for (DType t : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16}) {
    check_binary(BinaryOp::kReluGrad, t, 3, [](double g, double x) { return x > 0 ? g : 0; });
    check_binary(BinaryOp::kTanhGrad, t, 1, [](double g, double y) { return g * (1 - y * y); });
    check_binary(BinaryOp::kSigmoidGrad, t, 1, [](double g, double y) { return g * y * (1 - y); });
    check_binary(BinaryOp::kAbsGrad, t, 3,
                 [](double g, double x) { return x > 0 ? g : (x < 0 ? -g : 0); });
    check_binary(BinaryOp::kSiluGrad, t, 5, [](double g, double x) {
      double s = 1 / (1 + std::exp(-x));
      return g * (s + x * s * (1 - s));
    });
    check_binary(BinaryOp::kGeluErfGrad, t, 5, [](double g, double x) {
      return g * (0.5 * std::erfc(-x / std::sqrt(2.0)) +
                  x * std::exp(-0.5 * x * x) / std::sqrt(2 * 3.14159265358979323846));
    });
    check_binary(BinaryOp::kGeluGrad, t, 5, [](double g, double x) {
      const double c = std::sqrt(2 / 3.14159265358979323846);
      double u = std::tanh(c * (x + 0.044715 * x * x * x));
      return g * (0.5 * (1 + u) + 0.5 * x * (1 - u * u) * c * (1 + 3 * 0.044715 * x * x));
    });
  }
}

TEST(Binary, MaximumPassesNan) {
  Tensor a = make({3}, DType::kF32, [](int64_t i) { return i == 0 ? NAN : 1.0; });
  Tensor b = make({3}, DType::kF32, [](int64_t i) { return i == 1 ? NAN : 2.0; });
  for (BinaryOp op : {BinaryOp::kMaximum, BinaryOp::kMinimum}) {
    Tensor out = empty({3}, DType::kF32, host());
    cpu::binary(op, TensorIterator::build({&out, &a, &b}, "test"), {}, stream());
    auto v = values(out);
    EXPECT_TRUE(std::isnan(v[0]));
    EXPECT_TRUE(std::isnan(v[1]));
    EXPECT_EQ(v[2], op == BinaryOp::kMaximum ? 2 : 1);
  }
}

TEST(Binary, InPlaceAndStridedOutput) {
  for (DType t : {DType::kF32, DType::kF16, DType::kI32}) {
    auto value = [t](int64_t i) { return scattered(i, t, 9); };
    Tensor base = make({41, 90}, t, value);
    Tensor a = make_view(base, {41, 30}, {90, 3}, 2);
    Tensor b = make({30}, t, value);
    auto va = values(a), vb = broadcast_values(b, a.shape()), before = values(base);
    cpu::binary(BinaryOp::kAdd, TensorIterator::build({&a, &a, &b}, "add_"), {}, stream());
    auto got = values(a), after = values(base);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_TRUE(close(got[i], va[i] + vb[i], tolerance(t))) << i;
    for (size_t i = 0; i < after.size(); ++i)
      if (i % 3 != 2) ASSERT_EQ(after[i], before[i]) << "touched " << i;
  }
}

TEST(Binary, MaskScaleKeepsInfinitiesOut) {
  Tensor x = make({2000}, DType::kF32, [](int64_t i) { return i % 7 ? double(i) : INFINITY; });
  Tensor mask = make({2000}, DType::kBool, [](int64_t i) { return i % 7 && i % 2; });
  Tensor out = empty({2000}, DType::kF32, host());
  cpu::binary(BinaryOp::kMaskScale, TensorIterator::build({&out, &x, &mask}, "test"), {2, 0},
              stream());
  auto v = values(out);
  for (int64_t i = 0; i < 2000; ++i) ASSERT_EQ(v[i], i % 7 && i % 2 ? 2.0 * i : 0) << i;
}

TEST(Binary, RefusesIntegerDivisionBeforeItEnqueues) {
  Tensor a = make({4}, DType::kI32, [](int64_t) { return 1; });
  Tensor out = empty({4}, DType::kI32, host());
  auto it = TensorIterator::build({&out, &a, &a}, "div");
  try {
    cpu::binary(BinaryOp::kDiv, it, {}, stream());
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kDtype);
    EXPECT_NE(e.message().find("i32"), std::string::npos);
  }
}

struct UnaryCase {
  UnaryOp op;
  ElementParams params;
  double (*reference)(double x, double p0, double p1);
  bool floating_only;
  bool to_bool = false;
  bool positive = false;
};

#define REF(expression)                        \
  [](double x, double p, double q) -> double { \
    (void)p, (void)q;                          \
    return expression;                         \
  }
const UnaryCase kUnaryCases[] = {
    {UnaryOp::kNeg, {}, REF(-x), false},
    {UnaryOp::kAbs, {}, REF(std::fabs(x)), false},
    {UnaryOp::kRelu, {}, REF(x > 0 ? x : 0), false},
    {UnaryOp::kSign, {}, REF((x > 0) - (x < 0)), false},
    {UnaryOp::kClamp, {-2, 3}, REF(std::fmin(std::fmax(x, p), q)), false},
    {UnaryOp::kClamp, {NAN, 3}, REF(std::fmin(x, q)), false},
    {UnaryOp::kAddScalar, {3}, REF(x + p), false},
    {UnaryOp::kSubScalar, {3}, REF(x - p), false},
    {UnaryOp::kRsubScalar, {3}, REF(p - x), false},
    {UnaryOp::kMulScalar, {3}, REF(x* p), false},
    {UnaryOp::kMaximumScalar, {1}, REF(std::fmax(x, p)), false},
    {UnaryOp::kMinimumScalar, {1}, REF(std::fmin(x, p)), false},
    {UnaryOp::kPowScalar, {2}, REF(x* x), false},
    {UnaryOp::kPowScalar, {3}, REF(x* x* x), false},
    {UnaryOp::kPowScalar, {1.7}, REF(std::pow(x, p)), true, false, true},
    {UnaryOp::kPowScalar, {0.5}, REF(std::sqrt(x)), true, false, true},
    {UnaryOp::kEqScalar, {2}, REF(x == p), false, true},
    {UnaryOp::kNeScalar, {2}, REF(x != p), false, true},
    {UnaryOp::kLtScalar, {0.5}, REF(x < p), false, true},
    {UnaryOp::kLeScalar, {2}, REF(x <= p), false, true},
    {UnaryOp::kGtScalar, {0.5}, REF(x > p), false, true},
    {UnaryOp::kGeScalar, {2}, REF(x >= p), false, true},
    {UnaryOp::kLogicalNot, {}, REF(x == 0), false, true},
    {UnaryOp::kIsFinite, {}, REF(std::isfinite(x)), false, true},
    {UnaryOp::kExp, {}, REF(std::exp(x)), true},
    {UnaryOp::kLog, {}, REF(std::log(x)), true, false, true},
    {UnaryOp::kSqrt, {}, REF(std::sqrt(x)), true, false, true},
    {UnaryOp::kRsqrt, {}, REF(1 / std::sqrt(x)), true, false, true},
    {UnaryOp::kSin, {}, REF(std::sin(x)), true},
    {UnaryOp::kCos, {}, REF(std::cos(x)), true},
    {UnaryOp::kTanh, {}, REF(std::tanh(x)), true},
    {UnaryOp::kSigmoid, {}, REF(1 / (1 + std::exp(-x))), true},
    {UnaryOp::kSilu, {}, REF(x / (1 + std::exp(-x))), true},
    {UnaryOp::kSoftplus, {1, 20}, REF(x* p > q ? x : std::log1p(std::exp(x * p)) / p), true},
    {UnaryOp::kSoftplus, {3, 2}, REF(x* p > q ? x : std::log1p(std::exp(x * p)) / p), true},
    {UnaryOp::kGelu,
     {},
     REF(0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)))),
     true},
    {UnaryOp::kGeluErf, {}, REF(x * 0.5 * std::erfc(-x * 0.70710678118654752440)), true},
    {UnaryOp::kReciprocal, {}, REF(1 / x), true, false, true},
    {UnaryOp::kDivScalar, {3}, REF(x / p), true},
    {UnaryOp::kRdivScalar, {3}, REF(p / x), true, false, true},
};
#undef REF

TEST(Unary, AllOperatorsLayoutsAndDtypes) {
  for (DType t : kAllDTypes) {
    if (t == DType::kBool) continue;
    for (const UnaryCase& c : kUnaryCases) {
      if (c.floating_only && !is_floating(t)) continue;
      for (auto& [a, unused] : layouts(t, 6)) {
        if (c.positive) assign(a, [&](int64_t i) { return 0.25 + std::fabs(scattered(i, t, 6)); });
        Tensor out = empty(a.shape(), c.to_bool ? DType::kBool : t, host());
        cpu::unary(c.op, TensorIterator::build({&out, &a}, "test"), c.params, stream());
        auto got = values(out), va = values(a);
        for (size_t i = 0; i < got.size(); ++i) {
          double want = rounded(c.reference(va[i], c.params.p0, c.params.p1), t);
          if (t == DType::kU8 && !c.to_bool) want = uint8_t(int64_t(want));
          ASSERT_TRUE(close(got[i], want, 2 * tolerance(t)))
              << dtype_name(t) << " op " << int(c.op) << " shape " << to_string(a.shape()) << " at "
              << i << ": " << va[i] << " gives " << got[i] << ", not " << want;
        }
      }
    }
  }
}

TEST(Unary, TrigonometryOfLargeArguments) {
  const double args[] = {0, 1e5, 3e6, -1e10, 1e30, INFINITY, NAN};
  Tensor a = make({7}, DType::kF32, [&](int64_t i) { return args[i]; });
  Tensor out = empty({7}, DType::kF32, host());
  cpu::unary(UnaryOp::kSin, TensorIterator::build({&out, &a}, "sin"), {}, stream());
  auto got = values(out), in = values(a);
  for (int i = 0; i < 7; ++i) EXPECT_TRUE(close(got[i], std::sin(in[i]), 1e-6)) << in[i];
}

TEST(Unary, ComparisonWithTheNumberAHalfWasMadeFrom) {
  for (DType t : {DType::kF32, DType::kF16, DType::kBF16}) {
    Tensor a = make({3}, t, [](int64_t) { return 0.1; });
    Tensor out = empty({3}, DType::kBool, host());
    cpu::unary(UnaryOp::kEqScalar, TensorIterator::build({&out, &a}, "eq"), {0.1}, stream());
    EXPECT_EQ(values(out)[1], 1) << dtype_name(t);
  }
}

TEST(Ternary, WhereOfAllDtypesAndBroadcasts) {
  for (DType t : kAllDTypes) {
    for (auto& [a, b] : layouts(t, 9)) {
      Tensor condition = make(a.shape(), DType::kBool, [](int64_t i) { return i % 3 == 0; });
      Tensor out = empty(a.shape(), t, host());
      cpu::ternary(TernaryOp::kWhere, TensorIterator::build({&out, &condition, &a, &b}, "where"),
                   stream());
      auto got = values(out), va = values(a), vb = broadcast_values(b, a.shape());
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(got[i], i % 3 == 0 ? va[i] : vb[i]) << dtype_name(t) << " " << i;
    }
  }
}

}  // namespace
}  // namespace weft::test
