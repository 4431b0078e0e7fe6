// Fused SGD and AdamW, gradient norm and clip, against torch.optim's update rules written out in
// double.
#include <cmath>
#include <limits>

#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

class OptimKernel : public ::testing::TestWithParam<DType> {};

// Sizes around the chunk border, empty ones, and more parameters than threads.
const std::vector<int64_t> kSizes{1, 8192, 0, 8193, 20000, 17, 3, 100};

struct Model {
  std::vector<Buffer> params, grads, first, second;
  std::vector<std::vector<double>> want, want_first, want_second;

  explicit Model(DType dtype) {
    for (size_t p = 0; p < kSizes.size(); ++p) {
      params.push_back(random_buffer(dtype, kSizes[p], p + 1));
      grads.push_back(random_buffer(dtype, kSizes[p], p + 100));
      first.push_back(Buffer(DType::kF32, std::vector<double>(kSizes[p])));
      second.push_back(Buffer(DType::kF32, std::vector<double>(kSizes[p])));
      want.push_back(params[p].values());
      want_first.emplace_back(kSizes[p]);
      want_second.emplace_back(kSizes[p]);
    }
  }
  std::vector<OptimParam> list(DType dtype) const {
    std::vector<OptimParam> l;
    for (size_t p = 0; p < kSizes.size(); ++p)
      l.push_back({params[p].data(), grads[p].data(), first[p].as<float>(), second[p].as<float>(),
                   kSizes[p], dtype});
    return l;
  }
};

TEST_P(OptimKernel, Sgd) {
  struct Case {
    double momentum, decay, dampening;
    bool nesterov;
  };
  for (const Case& c : {Case{0, 0, 0, false},
                        {0, 0.1, 0, false},
                        {0.9, 0, 0, false},
                        {0.9, 0.01, 0.5, false},
                        {0.9, 0.01, 0, true}}) {
    Model m(GetParam());
    for (Buffer& b : m.first)
      for (int64_t i = 0; i < b.count(); ++i) b.set(i, kNan);  // the first step must not read it
    const auto list = m.list(GetParam());
    for (int step = 0; step < 3; ++step) {
      const SgdArgs args{.lr = 0.1,
                         .momentum = c.momentum,
                         .weight_decay = c.decay,
                         .dampening = c.dampening,
                         .nesterov = c.nesterov,
                         .first_step = step == 0};
      cpu::sgd(list.data(), static_cast<int>(list.size()), args, stream());
      for (size_t p = 0; p < kSizes.size(); ++p) {
        const auto g = m.grads[p].values();
        for (size_t i = 0; i < g.size(); ++i) {
          double d = g[i] + c.decay * m.want[p][i];
          if (c.momentum != 0) {
            double& buffer = m.want_first[p][i];
            buffer = step == 0 ? d : c.momentum * buffer + (1 - c.dampening) * d;
            d = c.nesterov ? d + c.momentum * buffer : buffer;
          }
          m.want[p][i] -= 0.1 * d;
        }
      }
    }
    for (size_t p = 0; p < kSizes.size(); ++p)
      // State is f32 for f64 parameters too, and bounds their accuracy.
      expect_close(m.params[p].values(), m.want[p], std::max(tolerance(GetParam()), 1e-6), "param");
  }
}

TEST_P(OptimKernel, AdamW) {
  Model m(GetParam());
  const auto list = m.list(GetParam());
  for (int step = 1; step <= 4; ++step) {
    const AdamWArgs args{
        .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .step = step};
    cpu::adamw(list.data(), static_cast<int>(list.size()), args, stream());
    for (size_t p = 0; p < kSizes.size(); ++p) {
      const auto g = m.grads[p].values();
      for (size_t i = 0; i < g.size(); ++i) {
        double &w = m.want[p][i], &first = m.want_first[p][i], &second = m.want_second[p][i];
        w *= 1 - 0.01 * 0.1;
        first = 0.9 * first + 0.1 * g[i];
        second = 0.95 * second + 0.05 * g[i] * g[i];
        const double denominator = std::sqrt(second) / std::sqrt(1 - std::pow(0.95, step)) + 1e-8;
        w -= 0.01 / (1 - std::pow(0.9, step)) * first / denominator;
      }
    }
  }
  for (size_t p = 0; p < kSizes.size(); ++p) {
    expect_close(m.params[p].values(), m.want[p], std::max(tolerance(GetParam()), 1e-6), "param");
    expect_close(m.first[p].values(), m.want_first[p], 1e-5, "first moment");
    expect_close(m.second[p].values(), m.want_second[p], 1e-5, "second moment");
  }
}

TEST_P(OptimKernel, NormAndClip) {
  Model m(GetParam());
  const auto list = m.list(GetParam());
  const int count = static_cast<int>(list.size());
  Buffer norm = unwritten(DType::kF32, 1);
  double sum = 0;
  std::vector<std::vector<double>> before;
  for (const Buffer& g : m.grads) {
    before.push_back(g.values());
    for (double x : before.back()) sum += x * x;
  }
  cpu::grad_norm(list.data(), count, norm.as<float>(), stream());
  EXPECT_NEAR(norm.values()[0], std::sqrt(sum), 1e-5 * std::sqrt(sum));

  cpu::grad_clip(list.data(), count, norm.as<float>(), 1e9, stream());
  for (size_t p = 0; p < before.size(); ++p)
    expect_close(m.grads[p].values(), before[p], 0, "grad");
  cpu::grad_clip(list.data(), count, norm.as<float>(), 2.5, stream());
  for (size_t p = 0; p < before.size(); ++p) {
    for (double& x : before[p]) x *= 2.5 / (std::sqrt(sum) + 1e-6);
    // The norm is f32 for gradients in f64 too.
    expect_close(m.grads[p].values(), before[p], std::max(tolerance(GetParam()), 1e-6), "grad",
                 0.01);
  }
}

TEST_P(OptimKernel, UnscaleDividesAndFindsWhatIsNotFinite) {
  for (const double bad : {0.0, kNan, std::numeric_limits<double>::infinity()}) {
    Model m(GetParam());
    const auto list = m.list(GetParam());
    if (bad != 0) m.grads[4].set(19999, bad);
    std::vector<std::vector<double>> want;
    for (const Buffer& g : m.grads) want.push_back(g.values());
    Buffer scaler(DType::kF32, std::vector<double>{4, 7, 0});
    Buffer record(DType::kF32, std::vector<double>{1, 3});
    cpu::amp_unscale(list.data(), static_cast<int>(list.size()), scaler.as<ScalerState>(),
                     record.as<SkipRecord>(), stream());
    for (size_t p = 0; p < want.size(); ++p) {
      for (double& x : want[p]) x /= 4;
      if (p != 4 || bad == 0) {
        expect_close(m.grads[p].values(), want[p], tolerance(GetParam()), "grad", 1e-3);
      }
    }
    const double found = bad != 0;
    EXPECT_EQ(record.values(), (std::vector<double>{found, 3 + found}));
    EXPECT_EQ(scaler.values(), (std::vector<double>{4, 7, found}));
  }
}

TEST_P(OptimKernel, AStepWithAnOverflowChangesNothing) {
  Model m(GetParam());
  const auto list = m.list(GetParam());
  const int count = static_cast<int>(list.size());
  for (Buffer& g : m.grads)
    for (int64_t i = 0; i < g.count(); i += 100) g.set(i, kNan);
  Buffer record(DType::kF32, std::vector<double>{1, 1});
  AdamWArgs adamw{
      .lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .step = 1};
  SgdArgs sgd{.lr = 0.1,
              .momentum = 0.9,
              .weight_decay = 0,
              .dampening = 0,
              .nesterov = false,
              .first_step = true};
  adamw.skip = sgd.skip = record.as<SkipRecord>();
  cpu::adamw(list.data(), count, adamw, stream());
  cpu::sgd(list.data(), count, sgd, stream());
  for (size_t p = 0; p < kSizes.size(); ++p) {
    expect_close(m.params[p].values(), m.want[p], 0, "param");
    expect_close(m.first[p].values(), m.want_first[p], 0, "first moment");
    expect_close(m.second[p].values(), m.want_second[p], 0, "second moment");
  }
}

INSTANTIATE_TEST_SUITE_P(Floating, OptimKernel, floating(), dtype_case);

TEST(OptimKernelEdges, TheScaleFallsAtOnceAndGrowsAfterTheInterval) {
  const AmpUpdateArgs args{.growth = 2, .backoff = 0.5, .interval = 2};
  auto updated = [&](double scale, double tracker, double found) {
    Buffer scaler(DType::kF32, std::vector<double>{scale, tracker, found});
    cpu::amp_update(scaler.as<ScalerState>(), args, stream());
    return scaler.values();
  };
  using State = std::vector<double>;
  EXPECT_EQ(updated(8, 0, 0), (State{8, 1, 0}));
  EXPECT_EQ(updated(8, 1, 0), (State{16, 0, 0}));
  EXPECT_EQ(updated(8, 1, 1), (State{4, 0, 0}));
  EXPECT_EQ(updated(std::ldexp(1, 127), 1, 0), (State{std::ldexp(1, 127), 0, 0}));
}

TEST(OptimKernelEdges, EmptyListAndDtype) {
  Buffer norm = unwritten(DType::kF32, 1);
  cpu::grad_norm(nullptr, 0, norm.as<float>(), stream());
  EXPECT_EQ(norm.values()[0], 0);
  cpu::sgd(nullptr, 0, SgdArgs{}, stream());
  const OptimParam p{nullptr, nullptr, nullptr, nullptr, 1, DType::kI64};
  EXPECT_THROW(cpu::adamw(&p, 1, AdamWArgs{}, stream()), Error);
}

}  // namespace
}  // namespace weft::kernel_test
