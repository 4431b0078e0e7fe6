// gemm against a product in double: transposes, strides, batches with broadcasting, epilogues, all
// dtypes, empty and odd sizes; and the plain loops against the same reference.
#include <array>

#include "cpu/gemm/blas.h"
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

struct Case {
  DType dtype = DType::kF32;
  int64_t m = 1, n = 1, k = 1;
  bool ta = false, tb = false;
  std::vector<int64_t> batch = {};  // dimension 0 fastest
  bool broadcast_a = false, broadcast_b = false;
  bool bias = false, gelu = false, pre = false;
  double alpha = 1, beta = 0;
  int64_t pad = 0;  // beyond each row of memory
};

void check(const Case& c) {
  SCOPED_TRACE(::testing::Message()
               << dtype_name(c.dtype) << " " << c.m << "x" << c.n << "x" << c.k << " ta" << c.ta
               << " tb" << c.tb << " batches " << c.batch.size() << " bias" << c.bias << " gelu"
               << c.gelu << " pre" << c.pre << " beta " << c.beta);
  const bool integer = !is_floating(c.dtype);
  GemmArgs g{};
  g.dtype = c.dtype;
  g.m = c.m, g.n = c.n, g.k = c.k;
  g.a_transposed = c.ta, g.b_transposed = c.tb;
  g.lda = (c.ta ? c.m : c.k) + c.pad;
  g.ldb = (c.tb ? c.k : c.n) + c.pad;
  g.ldc = c.n + c.pad;
  g.alpha = c.alpha, g.beta = c.beta;
  const int64_t a_size = (c.ta ? c.k : c.m) * g.lda, b_size = (c.tb ? c.n : c.k) * g.ldb,
                c_size = c.m * g.ldc;
  int64_t batches = 1;
  g.batch_dims = static_cast<int>(c.batch.size());
  for (int d = 0; d < g.batch_dims; ++d) {
    g.batch_shape[d] = c.batch[d];
    // Only the fastest dimension is broadcast, so that the others still have to move.
    g.a_batch[d] = c.broadcast_a && d == 0 ? 0 : batches * a_size;
    g.b_batch[d] = c.broadcast_b ? 0 : batches * b_size;
    g.c_batch[d] = batches * c_size;
    batches *= c.batch[d];
  }
  auto values = [&](int64_t count, uint64_t seed) {
    auto v = normal(count, seed, integer ? 100 : 1);
    if (integer)
      for (double& x : v) x = std::trunc(x);
    return Buffer(c.dtype, v);
  };
  Buffer a = values(a_size * batches, 1), b = values(b_size * batches, 2), bias = values(c.n, 3);
  Buffer out = c.beta != 0 ? values(c_size * batches, 4) : unwritten(c.dtype, c_size * batches);
  Buffer pre = unwritten(c.dtype, c_size * batches);
  g.a = a.data(), g.b = b.data(), g.c = out.data();
  if (c.bias) g.bias = bias.data();
  if (c.gelu) g.activation = Activation::kGelu;
  if (c.pre) g.pre_activation = pre.data();

  const auto va = a.values(), vb = b.values(), vbias = bias.values();
  auto want = out.values(), want_pre = pre.values();
  for (int64_t batch = 0; batch < batches; ++batch) {
    int64_t a_at = 0, b_at = 0, c_at = 0, rest = batch;
    for (int d = 0; d < g.batch_dims; ++d) {
      const int64_t i = rest % c.batch[d];
      rest /= c.batch[d];
      a_at += i * g.a_batch[d], b_at += i * g.b_batch[d], c_at += i * g.c_batch[d];
    }
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < c.n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < c.k; ++p)
          sum += va[a_at + (c.ta ? p * g.lda + i : i * g.lda + p)] *
                 vb[b_at + (c.tb ? j * g.ldb + p : p * g.ldb + j)];
        sum = c.alpha * sum + (c.bias ? vbias[j] : 0);
        double& w = want[c_at + i * g.ldc + j];
        if (c.pre) want_pre[c_at + i * g.ldc + j] = sum;
        w = (c.gelu ? gelu(sum) : sum) + (c.beta != 0 ? c.beta * w : 0);
      }
  }
  cpu::gemm(g, stream());
  const double scale = std::sqrt(static_cast<double>(c.k) + 1);
  expect_close(out.values(), want, tolerance(c.dtype), "c", scale);
  expect_close(pre.values(), want_pre, tolerance(c.dtype), "pre_activation", scale);
}

TEST(GemmKernel, EveryTransposeAndDtype) {
  for (DType dtype :
       {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI64, DType::kI32})
    for (bool ta : {false, true})
      for (bool tb : {false, true})
        for (auto [m, n, k] :
             {std::array<int64_t, 3>{1, 1, 1}, {5, 7, 3}, {33, 17, 65}, {1, 40, 9}, {40, 1, 9}})
          check({.dtype = dtype, .m = m, .n = n, .k = k, .ta = ta, .tb = tb, .pad = (m + n) % 3});
}

TEST(GemmKernel, BlocksOfLargeProducts) {
  for (DType dtype : {DType::kF32, DType::kBF16})
    for (bool ta : {false, true})
      for (bool tb : {false, true})
        check({.dtype = dtype, .m = 523, .n = 611, .k = 41, .ta = ta, .tb = tb, .bias = true});
}

TEST(GemmKernel, Epilogues) {
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16})
    for (double beta : {0.0, 1.0, 0.5})
      for (int bits = 0; bits < 8; ++bits)
        check({.dtype = dtype,
               .m = 19,
               .n = 23,
               .k = 31,
               .tb = true,
               .bias = (bits & 1) != 0,
               .gelu = (bits & 2) != 0,
               .pre = (bits & 4) != 0,
               .alpha = 0.75,
               .beta = beta,
               .pad = 2});
}

TEST(GemmKernel, BatchesWithBroadcasting) {
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kI64})
    for (bool broadcast_a : {false, true})
      for (bool broadcast_b : {false, true})
        for (bool ta : {false, true})
          for (const auto& batch : {std::vector<int64_t>{3}, {2, 5}, {4, 1, 3}})
            check({.dtype = dtype,
                   .m = 9,
                   .n = 6,
                   .k = 11,
                   .ta = ta,
                   .batch = batch,
                   .broadcast_a = broadcast_a,
                   .broadcast_b = broadcast_b,
                   .pad = 1});
}

TEST(GemmKernel, ZeroSizes) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kI32}) {
    check({.dtype = dtype, .m = 0, .n = 4, .k = 3});
    check({.dtype = dtype, .m = 4, .n = 0, .k = 3});
    check({.dtype = dtype, .m = 3, .n = 4, .k = 0, .bias = true});
    check({.dtype = dtype, .m = 3, .n = 4, .k = 0, .beta = 2});
    check({.dtype = dtype, .m = 3, .n = 4, .k = 2, .batch = {0, 3}});
  }
}

TEST(GemmKernel, BroadcastRowsOfMemory) {
  // Row stride 0: every row of A is the same one. BLAS refuses it, the kernel must not.
  Buffer a(DType::kF32, {1, 2, 3}), b(DType::kF32, {1, 0, 0, 1, 1, 1}),
      c = unwritten(DType::kF32, 8);
  GemmArgs g{.dtype = DType::kF32,
             .m = 4,
             .n = 2,
             .k = 3,
             .a = a.data(),
             .b = b.data(),
             .c = c.data(),
             .lda = 0,
             .ldb = 2,
             .ldc = 2};
  cpu::gemm(g, stream());
  expect_close(c.values(), {4, 5, 4, 5, 4, 5, 4, 5}, 0, "c");
}

TEST(GemmKernel, IntegersWrap) {
  Buffer a(DType::kI32, {65536}), b(DType::kI32, {65537}), c = unwritten(DType::kI32, 1);
  GemmArgs g{.dtype = DType::kI32,
             .m = 1,
             .n = 1,
             .k = 1,
             .a = a.data(),
             .b = b.data(),
             .c = c.data(),
             .lda = 1,
             .ldb = 1,
             .ldc = 1};
  cpu::gemm(g, stream());
  EXPECT_EQ(c.values()[0], 65536);
}

TEST(GemmKernel, RefusesWhatItCannotCompute) {
  GemmArgs g{};
  g.dtype = DType::kU8;
  EXPECT_THROW(cpu::gemm(g, stream()), Error);
  g.dtype = DType::kI64;
  g.activation = Activation::kGelu;
  EXPECT_THROW(cpu::gemm(g, stream()), Error);
}

TEST(GemmKernel, PlainLoopsAgree) {
  for (auto [m, n, k] : {std::array<int64_t, 3>{7, 19, 5}, {6, 16, 300}, {13, 530, 257}})
    for (int bits = 0; bits < 4; ++bits) {
      const bool ta = bits & 1, tb = bits & 2;
      const auto a = normal(m * k, 5), b = normal(n * k, 6);
      auto c = normal(m * n, 7), want = c;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t p = 0; p < k; ++p)
            sum += a[ta ? p * m + i : i * k + p] * b[tb ? j * k + p : p * n + j];
          want[i * n + j] = 2 * sum + 0.5 * want[i * n + j];
        }
      cpu::plain_multiply(ta, tb, m, n, k, 2.0, a.data(), ta ? m : k, b.data(), tb ? k : n, 0.5,
                          c.data(), n);
      expect_close(c, want, 1e-12, "c", 30);
    }
}

}  // namespace
}  // namespace weft::kernel_test
