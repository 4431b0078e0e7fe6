// Reductions of the host driver against naive references in f64: kinds, dtypes, layouts, accuracy.
#include <gtest/gtest.h>

#include "cpu/register.h"
#include "host_values.h"

namespace weft::test {
namespace {

/// Dimensions of `in` split by `reduced` (bit d: dimension d), the last logical dimension first,
/// without merging: the hardest case for the kernel.
ReduceArgs args_for(ReduceKind kind, const Tensor& in, unsigned reduced, Tensor& out,
                    DType out_dtype, double correction = 0) {
  ReduceArgs args{};
  args.kind = kind;
  args.in = in.data();
  args.in_dtype = in.dtype();
  args.out_dtype = out_dtype;
  args.correction = correction;
  Dims kept_shape;
  for (int d = 0; d < in.rank(); ++d)
    if (!(reduced >> d & 1)) kept_shape.push(in.shape()[d]);
  for (int d = in.rank() - 1; d >= 0; --d) {
    if (reduced >> d & 1) {
      args.reduced_shape[args.reduced_dims] = in.shape()[d];
      args.reduced_strides[args.reduced_dims++] = in.strides()[d];
      args.reduced_count *= in.shape()[d];
    } else {
      args.kept_shape[args.kept_dims] = in.shape()[d];
      args.kept_strides[args.kept_dims++] = in.strides()[d];
      args.kept_count *= in.shape()[d];
    }
  }
  out = empty(kept_shape, out_dtype, host());
  args.out = out.data();
  return args;
}

double reference(ReduceKind kind, const std::vector<double>& x, double correction) {
  double n = double(x.size()), sum = 0, squares = 0, spread = 0;
  size_t largest = 0, smallest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    sum += x[i];
    squares += x[i] * x[i];
    if (x[i] > x[largest]) largest = i;
    if (x[i] < x[smallest]) smallest = i;
  }
  for (double v : x) spread += (v - sum / n) * (v - sum / n);
  switch (kind) {
    case ReduceKind::kSum:
      return sum;
    case ReduceKind::kMean:
      return sum / n;
    case ReduceKind::kMax:
      return x[largest];
    case ReduceKind::kMin:
      return x[smallest];
    case ReduceKind::kArgMax:
      return double(largest);
    case ReduceKind::kSumSquares:
      return squares;
    case ReduceKind::kVar:
      return spread / (n - correction);
  }
  return 0;
}

/// The values that each output covers, in logical order.
std::vector<std::vector<double>> groups(const Tensor& in, unsigned reduced) {
  std::vector<double> v = values(in);
  int64_t outputs = 1;
  for (int d = 0; d < in.rank(); ++d)
    if (!(reduced >> d & 1)) outputs *= in.shape()[d];
  std::vector<std::vector<double>> result(static_cast<size_t>(outputs));
  for (size_t i = 0; i < v.size(); ++i) {
    int64_t rest = int64_t(i), to = 0, scale = 1;
    for (int d = in.rank() - 1; d >= 0; --d) {
      int64_t at = rest % in.shape()[d];
      rest /= in.shape()[d];
      if (!(reduced >> d & 1)) {
        to += at * scale;
        scale *= in.shape()[d];
      }
    }
    result[size_t(to)].push_back(v[i]);
  }
  return result;
}

DType result_dtype(ReduceKind kind, DType in) {
  if (kind == ReduceKind::kArgMax) return DType::kI64;
  if (is_floating(in)) return in;
  if (kind == ReduceKind::kMean || kind == ReduceKind::kVar) return DType::kF32;
  return kind == ReduceKind::kMax || kind == ReduceKind::kMin ? in : DType::kI64;
}

void check(ReduceKind kind, const Tensor& in, unsigned reduced) {
  Tensor out;
  const double correction = kind == ReduceKind::kVar ? 1 : 0;
  cpu::reduce(args_for(kind, in, reduced, out, result_dtype(kind, in.dtype()), correction),
              stream());
  auto got = values(out);
  auto want = groups(in, reduced);
  for (size_t i = 0; i < got.size(); ++i) {
    if (want[i].size() < 2 && kind == ReduceKind::kVar) {
      ASSERT_TRUE(std::isnan(got[i]));
      continue;
    }
    double w = rounded(reference(kind, want[i], correction), out.dtype());
    // What cancels in a sum leaves its rounding behind.
    double magnitude = 0;
    if (kind == ReduceKind::kSum || kind == ReduceKind::kMean)
      for (double v : want[i]) magnitude += std::fabs(v);
    if (kind == ReduceKind::kMean) magnitude /= double(want[i].size());
    double slack = is_floating(in.dtype()) && in.dtype() != DType::kF64 ? 1e-7 * magnitude : 0;
    ASSERT_TRUE(close(got[i], w, tolerance(out.dtype())) || std::fabs(got[i] - w) <= slack)
        << dtype_name(in.dtype()) << " kind " << int(kind) << " shape " << to_string(in.shape())
        << " reduced " << reduced << " at " << i << ": " << got[i] << ", not " << w;
  }
}

constexpr ReduceKind kKinds[] = {ReduceKind::kSum,       ReduceKind::kMean,   ReduceKind::kMax,
                                 ReduceKind::kMin,       ReduceKind::kArgMax, ReduceKind::kVar,
                                 ReduceKind::kSumSquares};

TEST(Reduce, KindsDtypesAndLayouts) {
  for (DType t : kAllDTypes) {
    auto value = [t](int64_t i) { return scattered(i, t, 5); };
    Tensor base = make({40, 96}, t, value);
    const Tensor inputs[] = {make({}, t, value),
                             make({1}, t, value),
                             make({2049}, t, value),
                             make({7, 9}, t, value),
                             make({301, 77}, t, value),
                             transposed(make({130, 41}, t, value)),
                             make({6, 5, 4, 33}, t, value),
                             make_view(base, {40, 31}, {96, 3}, 2),
                             make_view(base, {40, 5, 8}, {96, 0, 2}, 0)};
    for (const Tensor& in : inputs)
      for (ReduceKind kind : kKinds)
        for (unsigned reduced = 1; reduced < (1u << std::max(1, in.rank())); ++reduced)
          check(kind, in, in.rank() ? reduced : 0);
  }
}

TEST(Reduce, ChunkedRunsAndColumns) {
  for (DType t : {DType::kF32, DType::kBF16, DType::kI32}) {
    auto value = [t](int64_t i) { return scattered(i, t, 5); };
    Tensor tall = make({30011, 13}, t, value);
    Tensor wide = make({3, 100003}, t, value);
    for (ReduceKind kind : kKinds) {
      check(kind, tall, 1);
      check(kind, wide, 2);
      check(kind, wide, 3);
    }
    check(ReduceKind::kSum, make({3, 500, 700}, t, value), 2);
    check(ReduceKind::kMax, make({3, 500, 700}, t, value), 2);
  }
}

TEST(Reduce, EmptyRuns) {
  for (DType t : {DType::kF32, DType::kI64}) {
    Tensor in = make({3, 0}, t, [](int64_t) { return 0; }), out;
    cpu::reduce(args_for(ReduceKind::kSum, in, 2, out, t), stream());
    EXPECT_EQ(values(out), (std::vector<double>{0, 0, 0}));
    cpu::reduce(args_for(ReduceKind::kMean, in, 2, out, DType::kF32), stream());
    EXPECT_TRUE(std::isnan(values(out)[1]));
    cpu::reduce(args_for(ReduceKind::kSum, in, 1, out, t), stream());
    EXPECT_EQ(out.numel(), 0);
  }
}

TEST(Reduce, NanPassesAndWinsArgmax) {
  for (int64_t at : {0, 5, 4000}) {
    Tensor in = make({5000}, DType::kF32, [at](int64_t i) { return i == at ? NAN : double(i); });
    Tensor out;
    for (ReduceKind kind : {ReduceKind::kMax, ReduceKind::kMin}) {
      cpu::reduce(args_for(kind, in, 1, out, DType::kF32), stream());
      EXPECT_TRUE(std::isnan(values(out)[0]));
    }
    cpu::reduce(args_for(ReduceKind::kArgMax, in, 1, out, DType::kI64), stream());
    EXPECT_EQ(values(out)[0], double(at));
  }
}

TEST(Reduce, ArgmaxTakesTheFirstOfEquals) {
  Tensor in = make({200000}, DType::kF32, [](int64_t i) { return double(i % 1777 == 1776); }), out;
  cpu::reduce(args_for(ReduceKind::kArgMax, in, 1, out, DType::kI64), stream());
  EXPECT_EQ(values(out)[0], 1776);
}

TEST(Reduce, LongSumsKeepTheirAccuracy) {
  constexpr int64_t kCount = 10'000'000;
  Tensor in = empty({kCount}, DType::kF32, host()), out;
  stream().synchronize();
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    float v = in.data_as<float>()[i] = static_cast<float>(0.1 + double(i % 1009) * 1e-3);
    sum += v;
    squares += double(v) * v;
  }
  auto relative = [&](ReduceKind kind, const Tensor& t, unsigned reduced, double want) {
    cpu::reduce(args_for(kind, t, reduced, out, DType::kF32), stream());
    double got = 0;
    for (double v : values(out)) got += v;
    return std::fabs(got - want) / want;
  };
  EXPECT_LT(relative(ReduceKind::kSum, in, 1, sum), 1e-6);
  EXPECT_LT(relative(ReduceKind::kSumSquares, in, 1, squares), 1e-6);
  EXPECT_LT(relative(ReduceKind::kVar, in, 1, squares / kCount - sum / kCount * sum / kCount),
            1e-6);
  EXPECT_LT(relative(ReduceKind::kSum, make_view(in, {kCount / 10, 10}, {10, 1}, 0), 1, sum), 1e-6);
  // A variance far from zero: squares would cancel.
  Tensor far = make({100000}, DType::kF32, [](int64_t i) { return 4096 + double(i % 2); });
  EXPECT_LT(relative(ReduceKind::kVar, far, 1, 0.25), 1e-6);
}

}  // namespace
}  // namespace weft::test
