// softmax and log-softmax, forward and backward, against double references.
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

class SoftmaxKernel : public ::testing::TestWithParam<DType> {};

std::vector<double> softmax(const std::vector<double>& x, int64_t rows, int64_t cols, bool log) {
  std::vector<double> y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double top = -kInf, sum = 0;
    for (int64_t i = 0; i < cols; ++i) top = std::max(top, x[r * cols + i]);
    for (int64_t i = 0; i < cols; ++i) sum += std::exp(x[r * cols + i] - top);
    for (int64_t i = 0; i < cols; ++i) {
      const double l = x[r * cols + i] - top - std::log(sum);
      y[r * cols + i] = log ? l : std::exp(l);
    }
  }
  return y;
}

TEST_P(SoftmaxKernel, ForwardAndBackward) {
  for (bool log : {false, true})
    for (int64_t cols : {1, 7, 32, 49, 200, 20000}) {
      const int64_t rows = cols > 1000 ? 3 : 37;
      SCOPED_TRACE(::testing::Message() << "log " << log << " cols " << cols);
      Buffer x = random_buffer(GetParam(), rows * cols, 1, 3),
             y = unwritten(GetParam(), rows * cols);
      Buffer grad = random_buffer(GetParam(), rows * cols, 2),
             out = unwritten(GetParam(), rows * cols);
      const auto want = softmax(x.values(), rows, cols, log);
      cpu::softmax_forward({GetParam(), x.data(), nullptr, y.data(), rows, cols, log}, stream());
      expect_close(y.values(), want, tolerance(GetParam()), "y");

      cpu::softmax_backward({GetParam(), grad.data(), y.data(), out.data(), rows, cols, log},
                            stream());
      const auto g = grad.values(), kept = y.values();
      std::vector<double> want_grad(g.size());
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (int64_t i = r * cols; i < (r + 1) * cols; ++i) sum += log ? g[i] : g[i] * kept[i];
        for (int64_t i = r * cols; i < (r + 1) * cols; ++i)
          want_grad[i] = log ? g[i] - std::exp(kept[i]) * sum : (g[i] - sum) * kept[i];
      }
      expect_close(out.values(), want_grad, tolerance(GetParam()), "grad",
                   1 + std::sqrt(cols) / 10);
    }
}

TEST_P(SoftmaxKernel, MaskedLargeAndNan) {
  Buffer x(GetParam(), {-kInf, 0, 0, -kInf, -kInf, -kInf, 3e4, 3e4, -3e4, kNan, 1, 2});
  Buffer y = unwritten(GetParam(), 12);
  cpu::softmax_forward({GetParam(), x.data(), nullptr, y.data(), 4, 3, false}, stream());
  expect_close(y.values(), {0, .5, .5, kNan, kNan, kNan, .5, .5, 0, kNan, kNan, kNan}, 1e-6, "y");
}

TEST_P(SoftmaxKernel, ZeroSizes) {
  cpu::softmax_forward({GetParam(), nullptr, nullptr, nullptr, 0, 5, false}, stream());
  cpu::softmax_forward({GetParam(), nullptr, nullptr, nullptr, 5, 0, true}, stream());
  cpu::softmax_backward({GetParam(), nullptr, nullptr, nullptr, 0, 5, false}, stream());
  device().synchronize();
}

INSTANTIATE_TEST_SUITE_P(Floating, SoftmaxKernel, floating(), dtype_case);

TEST(SoftmaxKernelDtype, IntegersAreRefused) {
  EXPECT_THROW(
      cpu::softmax_forward({DType::kI64, nullptr, nullptr, nullptr, 1, 1, false}, stream()), Error);
}

}  // namespace
}  // namespace weft::kernel_test
