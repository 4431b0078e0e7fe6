// Layer norm and RMS norm, forward and backward, against double references; the references'
// gradients against finite differences through the f64 kernel.
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

constexpr double kEps = 1e-5;

struct Shape {
  int64_t rows, cols;
  bool centred, weight, bias;
};

std::vector<double> forward(const std::vector<double>& x, const std::vector<double>& w,
                            const std::vector<double>& b, const Shape& s) {
  std::vector<double> y(x.size());
  for (int64_t r = 0; r < s.rows; ++r) {
    double mean = 0, square = 0;
    const double* row = x.data() + r * s.cols;
    for (int64_t i = 0; s.centred && i < s.cols; ++i) mean += row[i] / static_cast<double>(s.cols);
    for (int64_t i = 0; i < s.cols; ++i)
      square += (row[i] - mean) * (row[i] - mean) / static_cast<double>(s.cols);
    for (int64_t i = 0; i < s.cols; ++i)
      y[r * s.cols + i] =
          (row[i] - mean) / std::sqrt(square + kEps) * (s.weight ? w[i] : 1) + (s.bias ? b[i] : 0);
  }
  return y;
}

// sum over y of grad * y: what finite differences take.
double objective(const std::vector<double>& x, const std::vector<double>& w,
                 const std::vector<double>& b, const std::vector<double>& grad, const Shape& s) {
  const auto y = forward(x, w, b, s);
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += grad[i] * y[i];
  return sum;
}

struct Gradients {
  std::vector<double> x, w, b;
};

Gradients backward(const std::vector<double>& x, const std::vector<double>& w,
                   const std::vector<double>& grad, const Shape& s) {
  const double n = static_cast<double>(s.cols);
  Gradients g{std::vector<double>(x.size()), std::vector<double>(s.cols),
              std::vector<double>(s.cols)};
  for (int64_t r = 0; r < s.rows; ++r) {
    const double *row = x.data() + r * s.cols, *gy = grad.data() + r * s.cols;
    double mean = 0, square = 0, sum = 0, dot = 0;
    for (int64_t i = 0; s.centred && i < s.cols; ++i) mean += row[i] / n;
    for (int64_t i = 0; i < s.cols; ++i) square += (row[i] - mean) * (row[i] - mean) / n;
    const double rstd = 1 / std::sqrt(square + kEps);
    for (int64_t i = 0; i < s.cols; ++i) {
      const double gw = gy[i] * (s.weight ? w[i] : 1), hat = (row[i] - mean) * rstd;
      if (s.centred) sum += gw / n;
      dot += gw * hat / n;
      g.w[i] += gy[i] * hat;
      g.b[i] += gy[i];
    }
    for (int64_t i = 0; i < s.cols; ++i)
      g.x[r * s.cols + i] =
          rstd * (gy[i] * (s.weight ? w[i] : 1) - sum - (row[i] - mean) * rstd * dot);
  }
  return g;
}

struct Outputs {
  std::vector<double> y, mean, rstd;
  Gradients g;
};

Outputs run_both(DType dtype, const Buffer& x, const Buffer& w, const Buffer& b, const Buffer& grad,
                 const Shape& s, DType y_dtype) {
  Buffer y = unwritten(y_dtype, s.rows * s.cols), gx = unwritten(dtype, s.rows * s.cols);
  Buffer gw = unwritten(dtype, s.cols), gb = unwritten(dtype, s.cols);
  Buffer mean = unwritten(DType::kF32, s.rows), rstd = unwritten(DType::kF32, s.rows);
  NormArgs args{.dtype = dtype,
                .y_dtype = y_dtype,
                .x = x.data(),
                .weight = s.weight ? w.data() : nullptr,
                .bias = s.bias ? b.data() : nullptr,
                .y = y.data(),
                .mean = s.centred ? mean.as<float>() : nullptr,
                .rstd = rstd.as<float>(),
                .grad_y = grad.data(),
                .grad_x = gx.data(),
                .grad_weight = gw.data(),
                .grad_bias = gb.data(),
                .rows = s.rows,
                .cols = s.cols,
                .eps = kEps};
  cpu::norm_forward(args, stream());
  cpu::norm_backward(args, stream());
  return {y.values(), mean.values(), rstd.values(), {gx.values(), gw.values(), gb.values()}};
}

Outputs run_both(DType dtype, const Buffer& x, const Buffer& w, const Buffer& b, const Buffer& grad,
                 const Shape& s) {
  return run_both(dtype, x, w, b, grad, s, dtype);
}

class NormKernel : public ::testing::TestWithParam<DType> {};

TEST_P(NormKernel, MatchesReference) {
  for (bool centred : {true, false})
    for (int affine = 0; affine < 4; ++affine)
      for (auto [rows, cols] :
           {std::pair<int64_t, int64_t>{3, 5}, {300, 64}, {1, 1000}, {70, 129}, {5000, 8}}) {
        const Shape s{rows, cols, centred, (affine & 1) != 0, (affine & 2) != 0};
        SCOPED_TRACE(::testing::Message()
                     << rows << "x" << cols << " centred " << centred << " affine " << affine);
        // An offset large beside the spread: sums of squares without centring would lose it.
        auto values = normal(rows * cols, 1);
        for (double& v : values) v += centred && !is_half(GetParam()) ? 20 : 0;
        Buffer x(GetParam(), values), w = random_buffer(GetParam(), cols, 2),
                                      b = random_buffer(GetParam(), cols, 3);
        Buffer grad = random_buffer(GetParam(), rows * cols, 4);
        const Outputs r = run_both(GetParam(), x, w, b, grad, s);
        const double t = tolerance(GetParam()) * (GetParam() == DType::kF32 ? 5 : 1);
        expect_close(r.y, forward(x.values(), w.values(), b.values(), s), t, "y");
        const Gradients want = backward(x.values(), w.values(), grad.values(), s);
        expect_close(r.g.x, want.x, t, "grad_x");
        expect_close(r.g.w, want.w, t, "grad_weight", std::sqrt(static_cast<double>(rows)));
        expect_close(r.g.b, want.b, t, "grad_bias", std::sqrt(static_cast<double>(rows)));
        if (centred) {
          EXPECT_NEAR(r.mean[0], is_half(GetParam()) ? 0 : 20, 3);
        }
        EXPECT_GT(r.rstd[0], 0);
      }
}

TEST_P(NormKernel, ZeroSizes) {
  const Shape s{0, 4, true, true, true};
  Buffer none(GetParam(), {}), w = random_buffer(GetParam(), 4, 2);
  const Outputs r = run_both(GetParam(), none, w, w, none, s);
  expect_close(r.g.w, {0, 0, 0, 0}, 0, "grad_weight");
  expect_close(r.g.b, {0, 0, 0, 0}, 0, "grad_bias");
}

INSTANTIATE_TEST_SUITE_P(Floating, NormKernel, floating(), dtype_case);

TEST(NormKernelRounded, F32RowsGiveTheirResultRoundedAndTakeGradientsOfThatType) {
  for (DType low : {DType::kF16, DType::kBF16}) {
    for (bool centred : {true, false}) {
      const Shape s{70, 129, centred, true, true};
      Buffer x = random_buffer(DType::kF32, s.rows * s.cols, 1);
      Buffer w = random_buffer(DType::kF32, s.cols, 2), b = random_buffer(DType::kF32, s.cols, 3);
      Buffer grad = random_buffer(low, s.rows * s.cols, 4);
      const Outputs exact = run_both(DType::kF32, x, w, b, Buffer(DType::kF32, grad.values()), s);
      const Outputs rounded = run_both(DType::kF32, x, w, b, grad, s, low);
      EXPECT_EQ(rounded.y, Buffer(low, exact.y).values());
      EXPECT_EQ(rounded.g.x, exact.g.x);
      EXPECT_EQ(rounded.g.w, exact.g.w);
      EXPECT_EQ(rounded.g.b, exact.g.b);
    }
  }
}

TEST(NormKernelGradient, FiniteDifferences) {
  for (bool centred : {true, false}) {
    const Shape s{3, 6, centred, true, true};
    auto x = normal(18, 5), w = normal(6, 6), b = normal(6, 7);
    const auto grad = normal(18, 8);
    const Outputs r = run_both(DType::kF64, Buffer(DType::kF64, x), Buffer(DType::kF64, w),
                               Buffer(DType::kF64, b), Buffer(DType::kF64, grad), s);
    auto differences = [&](std::vector<double>& of) {
      std::vector<double> d(of.size());
      for (size_t i = 0; i < of.size(); ++i) {
        const double at = of[i];
        of[i] = at + 1e-5;
        d[i] = objective(x, w, b, grad, s);
        of[i] = at - 1e-5;
        d[i] = (d[i] - objective(x, w, b, grad, s)) / 2e-5;
        of[i] = at;
      }
      return d;
    };
    expect_close(r.g.x, differences(x), 1e-8, "grad_x");
    expect_close(r.g.w, differences(w), 1e-8, "grad_weight");
    expect_close(r.g.b, differences(b), 1e-8, "grad_bias");
  }
}

}  // namespace
}  // namespace weft::kernel_test
