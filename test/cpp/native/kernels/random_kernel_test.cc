// Random kernels of the host driver: the numbers are Philox's by position, whatever the count, the
// offset or the split; their moments; dropout.
#include <gtest/gtest.h>

#include "cpu/register.h"
#include "host_values.h"
#include "random/philox.h"

namespace weft::test {
namespace {

using Kind = RandomArgs::Kind;

Tensor draw(Kind kind, DType dtype, int64_t count, double p0, double p1, uint64_t seed = 7,
            uint64_t offset = 0) {
  Tensor out = empty({count}, dtype, host());
  RandomArgs args{kind, dtype, out.data(), count, p0, p1, seed, offset};
  cpu::random(args, stream());
  stream().synchronize();
  return out;
}

// Salmon et al. give this known answer for Philox 4x32-10: key and counter all zero.
TEST(Random, PhiloxKnownAnswer) {
  auto words = philox::generate(0, 0);
  EXPECT_EQ(words.w[0], 0x6627e8d5u);
  EXPECT_EQ(words.w[1], 0xe169c58du);
  EXPECT_EQ(words.w[2], 0xbc57ac4cu);
  EXPECT_EQ(words.w[3], 0x9b00dbd8u);
}

TEST(Random, UniformIsPhiloxByPosition) {
  const uint64_t seed = 0x123456789abcdefu,
                 offset = 0xfffffff0u;  // the counter's low word overflows
  for (int64_t count : {0, 1, 3, 513, 40001}) {
    auto v = values(draw(Kind::kUniform, DType::kF32, count, 0, 1, seed, offset));
    for (int64_t i = 0; i < count; ++i) {
      auto words = philox::generate(seed, offset + static_cast<uint64_t>(i / 4));
      ASSERT_EQ(v[i], philox::to_uniform(words.w[i % 4])) << i << " of " << count;
    }
  }
}

TEST(Random, NormalIsPhiloxByPosition) {
  auto v = values(draw(Kind::kNormal, DType::kF32, 20001, 0, 1, 3, 5));
  for (int64_t i = 0; i < 20001; ++i) {
    auto words = philox::generate(3, 5 + static_cast<uint64_t>(i / 4));
    float pair[2];
    int64_t first = i % 4 / 2 * 2;
    philox::to_normal(words.w[first], words.w[first + 1], &pair[0], &pair[1]);
    ASSERT_NEAR(v[i], pair[i % 2], 4e-6) << i;
  }
}

TEST(Random, Moments) {
  constexpr int64_t kCount = 1'000'000;
  for (DType t : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16}) {
    double sum = 0, squares = 0;
    for (double x : values(draw(Kind::kNormal, t, kCount, 2, 3))) {
      sum += x;
      squares += x * x;
    }
    double mean = sum / kCount;
    EXPECT_NEAR(mean, 2, 0.02) << dtype_name(t);
    EXPECT_NEAR(squares / kCount - mean * mean, 9, 0.1) << dtype_name(t);
    sum = 0;
    for (double x : values(draw(Kind::kUniform, t, kCount, -1, 3))) {
      ASSERT_GE(x, -1);
      ASSERT_LT(x, 3) << dtype_name(t);
      sum += x;
    }
    EXPECT_NEAR(sum / kCount, 1, 0.01) << dtype_name(t);
  }
}

TEST(Random, IntegersCoverTheirRange) {
  for (DType t : {DType::kI64, DType::kI32, DType::kU8, DType::kF32}) {
    int64_t seen[10] = {};
    for (double x : values(draw(Kind::kRandInt, t, 100'000, 3, 13))) {
      ASSERT_TRUE(x >= 3 && x < 13 && x == std::floor(x)) << x;
      ++seen[static_cast<int>(x) - 3];
    }
    for (int64_t n : seen) EXPECT_NEAR(double(n), 10'000, 500);
  }
  EXPECT_THROW(draw(Kind::kRandInt, DType::kI64, 4, 5, 5), Error);
  EXPECT_THROW(draw(Kind::kUniform, DType::kI64, 4, 0, 1), Error);
}

TEST(Random, DropoutScalesWhatItKeeps) {
  for (DType t : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16}) {
    constexpr int64_t kCount = 50'001;
    Tensor in = make({kCount}, t, [t](int64_t i) { return 1 + scattered(i, t, 0.5); });
    Tensor out = empty({kCount}, t, host()), mask = empty({kCount}, DType::kBool, host());
    RandomArgs args{Kind::kDropout, t, out.data(), kCount, 0.25, 0, 11, 4, in.data(), mask.data()};
    cpu::random(args, stream());
    auto x = values(in), y = values(out), m = values(mask);
    int64_t kept = 0;
    for (int64_t i = 0; i < kCount; ++i) {
      auto words = philox::generate(11, 4 + static_cast<uint64_t>(i / 4));
      ASSERT_EQ(m[i] != 0, philox::to_uniform(words.w[i % 4]) >= 0.25f) << i;
      ASSERT_TRUE(close(y[i], m[i] != 0 ? x[i] / 0.75 : 0, tolerance(t))) << i;
      kept += m[i] != 0;
    }
    EXPECT_NEAR(double(kept) / kCount, 0.75, 0.01);
    args.p0 = 1;
    cpu::random(args, stream());
    for (double v : values(out)) ASSERT_EQ(v, 0);
  }
}

}  // namespace
}  // namespace weft::test
