// Fused cross entropy against double references: reductions, ignored and bad targets, label
// smoothing, and its gradient against finite differences of the reference.
#include "core/async_error.h"
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

constexpr int64_t kIgnore = -100;

struct Result {
  std::vector<double> loss;
  double count = 0;
};

// torch.nn.functional.cross_entropy, written out.
Result reference(const std::vector<double>& x, const std::vector<int64_t>& targets, int64_t cols,
                 double smoothing, Reduction reduction) {
  Result result;
  double total = 0;
  for (size_t r = 0; r < targets.size(); ++r) {
    const double* row = x.data() + r * cols;
    double loss = 0;
    if (targets[r] >= 0 && targets[r] < cols) {
      double sum = 0, mean = 0;
      for (int64_t i = 0; i < cols; ++i) sum += std::exp(row[i] - row[0]);
      const double lse = row[0] + std::log(sum);
      for (int64_t i = 0; i < cols; ++i) mean += (lse - row[i]) / static_cast<double>(cols);
      loss = (1 - smoothing) * (lse - row[targets[r]]) + smoothing * mean;
      result.count += 1;
    }
    if (reduction == Reduction::kNone) result.loss.push_back(loss);
    total += loss;
  }
  if (reduction == Reduction::kMean) total /= result.count;
  if (reduction != Reduction::kNone) result.loss.push_back(total);
  return result;
}

class CrossEntropyKernel : public ::testing::TestWithParam<DType> {};

TEST_P(CrossEntropyKernel, MatchesReference) {
  const DType dtype = GetParam();
  for (Reduction reduction : {Reduction::kNone, Reduction::kMean, Reduction::kSum})
    for (double smoothing : {0.0, 0.1})
      for (int64_t cols : {1, 10, 77, 9000}) {
        const int64_t rows = cols == 10 ? 4001 : 13;
        SCOPED_TRACE(::testing::Message() << "reduction " << int(reduction) << " smoothing "
                                          << smoothing << " cols " << cols);
        Buffer logits = random_buffer(dtype, rows * cols, 1, 2);
        std::vector<int64_t> targets(rows);
        for (int64_t r = 0; r < rows; ++r) targets[r] = r % 5 == 3 ? kIgnore : (r * 7919) % cols;
        const bool none = reduction == Reduction::kNone;
        Buffer loss = unwritten(DType::kF32, none ? rows : 1), lse = unwritten(DType::kF32, rows);
        Buffer count = unwritten(DType::kF32, 1), grad = unwritten(dtype, rows * cols);
        Buffer grad_loss = random_buffer(DType::kF32, none ? rows : 1, 3);
        CrossEntropyArgs args{.dtype = dtype,
                              .logits = logits.data(),
                              .targets = targets.data(),
                              .loss = loss.as<float>(),
                              .lse = lse.as<float>(),
                              .count = count.as<float>(),
                              .grad_loss = grad_loss.as<float>(),
                              .grad_logits = grad.data(),
                              .rows = rows,
                              .cols = cols,
                              .ignore_index = kIgnore,
                              .label_smoothing = smoothing,
                              .reduction = reduction,
                              .device = device().index()};
        cpu::cross_entropy_forward(args, stream());
        const auto x = logits.values();
        const Result want = reference(x, targets, cols, smoothing, reduction);
        const double scale = reduction == Reduction::kSum ? std::sqrt(rows) : 1;
        expect_close(loss.values(), want.loss, 2e-5, "loss", scale);
        EXPECT_EQ(count.values()[0], want.count);

        cpu::cross_entropy_backward(args, stream());
        const auto g = grad_loss.values(), actual = grad.values();
        std::vector<double> want_grad(x.size());
        for (int64_t r = 0; r < rows; ++r) {
          if (targets[r] == kIgnore) continue;
          double sum = 0;
          for (int64_t i = 0; i < cols; ++i) sum += std::exp(x[r * cols + i]);
          const double by = g[none ? r : 0] / (reduction == Reduction::kMean ? want.count : 1);
          for (int64_t i = 0; i < cols; ++i)
            want_grad[r * cols + i] =
                by * (std::exp(x[r * cols + i]) / sum - (i == targets[r] ? 1 - smoothing : 0) -
                      smoothing / static_cast<double>(cols));
        }
        expect_close(actual, want_grad, tolerance(dtype), "grad", dtype == DType::kF64 ? 1 : 0.1);
      }
}

INSTANTIATE_TEST_SUITE_P(Floating, CrossEntropyKernel, floating(), dtype_case);

// The reference's own gradient formula above is checked here: f64 kernel against finite
// differences.
TEST(CrossEntropyKernelGradient, FiniteDifferences) {
  const int64_t rows = 4, cols = 5;
  const std::vector<int64_t> targets{2, kIgnore, 0, 4};
  auto x = normal(rows * cols, 4);
  Buffer logits(DType::kF64, x), loss = unwritten(DType::kF32, 1),
                                 lse = unwritten(DType::kF32, rows);
  Buffer count = unwritten(DType::kF32, 1), grad = unwritten(DType::kF64, rows * cols),
         one(DType::kF32, {1});
  CrossEntropyArgs args{.dtype = DType::kF64,
                        .logits = logits.data(),
                        .targets = targets.data(),
                        .loss = loss.as<float>(),
                        .lse = lse.as<float>(),
                        .count = count.as<float>(),
                        .grad_loss = one.as<float>(),
                        .grad_logits = grad.data(),
                        .rows = rows,
                        .cols = cols,
                        .ignore_index = kIgnore,
                        .label_smoothing = 0.2,
                        .reduction = Reduction::kMean,
                        .device = device().index()};
  cpu::cross_entropy_forward(args, stream());
  cpu::cross_entropy_backward(args, stream());
  std::vector<double> want(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    auto up = x, down = x;
    up[i] += 1e-5, down[i] -= 1e-5;
    want[i] = (reference(up, targets, cols, 0.2, Reduction::kMean).loss[0] -
               reference(down, targets, cols, 0.2, Reduction::kMean).loss[0]) /
              2e-5;
  }
  expect_close(grad.values(), want, 1e-9, "grad");
}

TEST(CrossEntropyKernelEdges, NothingCountsAndBadTargets) {
  Buffer logits = random_buffer(DType::kF32, 6, 5), loss = unwritten(DType::kF32, 1),
         lse = unwritten(DType::kF32, 2);
  Buffer count = unwritten(DType::kF32, 1), grad = unwritten(DType::kF32, 6), one(DType::kF32, {1});
  std::vector<int64_t> targets{kIgnore, kIgnore};
  CrossEntropyArgs args{.dtype = DType::kF32,
                        .logits = logits.data(),
                        .targets = targets.data(),
                        .loss = loss.as<float>(),
                        .lse = lse.as<float>(),
                        .count = count.as<float>(),
                        .grad_loss = one.as<float>(),
                        .grad_logits = grad.data(),
                        .rows = 2,
                        .cols = 3,
                        .ignore_index = kIgnore,
                        .reduction = Reduction::kMean,
                        .device = device().index()};
  cpu::cross_entropy_forward(args, stream());
  cpu::cross_entropy_backward(args, stream());
  EXPECT_TRUE(std::isnan(loss.values()[0]));
  EXPECT_EQ(count.values()[0], 0);
  expect_close(grad.values(), {0, 0, 0, 0, 0, 0}, 0, "grad");
  EXPECT_NO_THROW(throw_async_error(device()));

  targets = {3, 1};
  cpu::cross_entropy_forward(args, stream());
  EXPECT_EQ(count.values()[0], 1);
  const auto x = logits.values();
  const auto want = reference(x, {-1, 1}, 3, 0, Reduction::kMean);
  expect_close(loss.values(), want.loss, 1e-5, "loss");
  EXPECT_THROW(throw_async_error(device()), Error);
  EXPECT_NO_THROW(throw_async_error(device()));

  args.rows = 0;
  args.reduction = Reduction::kSum;
  cpu::cross_entropy_forward(args, stream());
  EXPECT_EQ(loss.values()[0], 0);
}

}  // namespace
}  // namespace weft::kernel_test
