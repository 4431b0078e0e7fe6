// Accuracy of the vector functions against the C library in f64, in units in the last place.
#include "cpu/elementwise/vector_math.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <functional>

namespace weft::cpu::math {
namespace {

double ulp_of(double exact) {
  auto f = static_cast<float>(std::fabs(exact));
  if (f < std::numeric_limits<float>::min()) return 0x1p-149;
  return static_cast<double>(std::nextafter(f, kInf)) - f;
}

/// Largest error of `fast` over [low, high], in ulp.
double worst(float low, float high, float (*fast)(float), double (*exact)(double)) {
  double error = 0;
  constexpr int kSteps = 1'000'003;
  for (int i = 0; i <= kSteps; ++i) {
    auto x = static_cast<float>(low + (static_cast<double>(high) - low) * i / kSteps);
    double want = exact(x);
    if (std::fabs(want) > 3.4e38) continue;
    error = std::fmax(error, std::fabs(fast(x) - want) / ulp_of(want));
  }
  std::printf("  [%g, %g]: %.2f ulp\n", low, high, error);
  return error;
}

double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double exact_gelu(double x) {
  return x / (1 + std::exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}
double exact_gelu_erf(double x) { return x * 0.5 * std::erfc(-x * 0.70710678118654752440); }
float log_(float x) { return log(x); }
float exp_(float x) { return exp(x); }
float tanh_(float x) { return tanh(x); }
float sin_(float x) { return trig(x, 0); }
float cos_(float x) { return trig(x, 1); }

TEST(VectorMath, Exp) {
  EXPECT_LT(worst(-87, 88.7f, exp_, std::exp), 1.5);
  EXPECT_LT(worst(-1, 1, exp_, std::exp), 1.5);
  EXPECT_LT(worst(-104, -87, exp_, std::exp), 1.5);  // subnormal results
}

TEST(VectorMath, Log) {
  EXPECT_LT(worst(1e-3f, 3, log_, std::log), 1.5);
  EXPECT_LT(worst(0.9f, 1.1f, log_, std::log), 1.5);
  EXPECT_LT(worst(1e-44f, 1e-37f, log_, std::log), 1.5);
  EXPECT_LT(worst(1, 3e38f, log_, std::log), 1.5);
}

TEST(VectorMath, TanhAndSigmoid) {
  EXPECT_LT(worst(-12, 12, tanh_, std::tanh), 2.0);
  EXPECT_LT(worst(-0.7f, 0.7f, tanh_, std::tanh), 2.0);
  EXPECT_LT(worst(-100, 20, sigmoid<float>, exact_sigmoid), 2.5);
}

TEST(VectorMath, SinAndCos) {
  EXPECT_LT(worst(-10, 10, sin_, std::sin), 0.6);
  EXPECT_LT(worst(-10, 10, cos_, std::cos), 0.6);
  EXPECT_LT(worst(-kTrigLimit, kTrigLimit, sin_, std::sin), 0.6);
  EXPECT_LT(worst(-kTrigLimit, kTrigLimit, cos_, std::cos), 0.6);
}

TEST(VectorMath, Gelu) {
  // The tails take the exponential of a rounded argument: its error grows with the argument.
  EXPECT_LT(worst(-1, 8, gelu<float>, exact_gelu), 4);
  EXPECT_LT(worst(-5, -1, gelu<float>, exact_gelu), 40);
  EXPECT_LT(worst(-1, 8, gelu_erf<float>, exact_gelu_erf), 8);
  EXPECT_LT(worst(-13, -1, gelu_erf<float>, exact_gelu_erf), 8);
}

TEST(VectorMath, SpecialValues) {
  EXPECT_EQ(exp(kInf), kInf);
  EXPECT_EQ(exp(-kInf), 0.0f);
  EXPECT_EQ(exp(0.0f), 1.0f);
  EXPECT_EQ(exp(100.0f), kInf);
  EXPECT_EQ(log(0.0f), -kInf);
  EXPECT_EQ(log(1.0f), 0.0f);
  EXPECT_EQ(log(kInf), kInf);
  EXPECT_TRUE(std::isnan(log(-1.0f)));
  EXPECT_TRUE(std::isnan(log(-kInf)));
  EXPECT_EQ(tanh(kInf), 1.0f);
  EXPECT_EQ(tanh(-kInf), -1.0f);
  EXPECT_EQ(sigmoid(kInf), 1.0f);
  EXPECT_EQ(sigmoid(-kInf), 0.0f);
  EXPECT_EQ(normal_cdf(kInf), 1.0f);
  EXPECT_EQ(normal_cdf(-kInf), 0.0f);
  for (auto f : {gelu<float>, gelu_erf<float>, silu<float>}) {
    EXPECT_EQ(f(kInf), kInf);
    EXPECT_EQ(f(-kInf), 0.0f);
    EXPECT_EQ(f(1e20f), 1e20f);
    EXPECT_EQ(f(-1e20f), 0.0f);
  }
  for (auto f : {gelu_slope<float>, gelu_erf_slope<float>, silu_slope<float>}) {
    EXPECT_EQ(f(kInf), 1.0f);
    EXPECT_NEAR(f(-kInf), 0.0f, 1e-30f);
  }
  float (*const all[])(float) = {exp_,
                                 log_,
                                 tanh_,
                                 sigmoid<float>,
                                 normal_cdf,
                                 gelu<float>,
                                 gelu_erf<float>,
                                 silu<float>,
                                 gelu_slope<float>,
                                 gelu_erf_slope<float>,
                                 silu_slope<float>};
  for (auto f : all) EXPECT_TRUE(std::isnan(f(kNan)));
}

}  // namespace
}  // namespace weft::cpu::math
