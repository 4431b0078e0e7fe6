// GEMM against a plain product in double: every dtype, layout, epilogue and batch form through the
// entry point, and every kernel of the menu with every split by itself. Rates for the shapes that
// the project compares with cuBLAS.
#include <algorithm>
#include <array>
#include <functional>

#include "cuda/gemm/gemm.h"
#include "cuda/gemm/choice.h"
#include "cuda/gemm/timing.h"
#include "device_check.h"

namespace weft::check {
namespace {

__global__ void widen_kernel(const void* in, double* out, int64_t count, int dtype) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  switch (static_cast<DType>(dtype)) {
    case DType::kF64: out[i] = static_cast<const double*>(in)[i]; break;
    case DType::kF32: out[i] = static_cast<const float*>(in)[i]; break;
    case DType::kF16: out[i] = __half2float(static_cast<const __half*>(in)[i]); break;
    case DType::kBF16: out[i] = __bfloat162float(static_cast<const __nv_bfloat16*>(in)[i]); break;
    case DType::kI32: out[i] = static_cast<const int32_t*>(in)[i]; break;
    default: out[i] = static_cast<double>(static_cast<const int64_t*>(in)[i]);
  }
}

struct Steps {
  int64_t row, column;
};

__global__ void product_kernel(const double* a, Steps sa, const double* b, Steps sb, double* c,
                               int m, int n, int k) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= static_cast<int64_t>(m) * n) return;
  const int64_t row = i / n, column = i % n;
  double sum = 0;
  for (int64_t d = 0; d < k; ++d)
    sum += a[row * sa.row + d * sa.column] * b[d * sb.row + column * sb.column];
  c[i] = sum;
}

unsigned blocks_of(int64_t count) { return static_cast<unsigned>((count + 255) / 256); }

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

struct Case {
  DType dtype;
  int m, n, k;
  bool a_transposed, b_transposed;
  bool bias = false, gelu = false, before = false;
  double alpha = 1, beta = 0;
  int shift = 0;  // elements by which every operand is off its alignment
  int batch = 1, batch2 = 1;
  bool broadcast_b = false;
};

std::string name_of(const Case& c) {
  char text[200];
  std::snprintf(text, sizeof text, "%s %dx%dx%d %c%c%s%s%s alpha %g beta %g shift %d batch %dx%d%s",
                fabric::dtype_name(c.dtype), c.m, c.n, c.k, c.a_transposed ? 'T' : 'N',
                c.b_transposed ? 'T' : 'N', c.bias ? " bias" : "", c.gelu ? " gelu" : "",
                c.before ? " before" : "", c.alpha, c.beta, c.shift, c.batch, c.batch2,
                c.broadcast_b ? " b broadcast" : "");
  return text;
}

double limit_of(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 1e-12;
    case DType::kF32: return cuda::tf32() ? 6e-3 : 2e-5;
    case DType::kF16: return 6e-3;
    case DType::kBF16: return 4e-2;
    default: return 0;
  }
}

// The buffers of a case, its arguments and the expected results.
class Setup {
 public:
  explicit Setup(const Case& c)
      : case_(c),
        a_(c.dtype, count(c.m, c.k) + c.shift),
        b_(c.dtype, count(c.k, c.n) + c.shift),
        c_(c.dtype, count(c.m, c.n) + c.shift),
        before_(c.dtype, count(c.m, c.n) + c.shift),
        bias_(c.dtype, c.n + c.shift) {
    a_.randomize(1);
    b_.randomize(2);
    old_ = c_.randomize(3);
    before_.randomize(4);
    bias_values_ = bias_.randomize(5);
    expect();
  }

  GemmArgs args() const {
    const Case& c = case_;
    GemmArgs g{};
    g.dtype = c.dtype;
    g.m = c.m, g.n = c.n, g.k = c.k;
    g.a = a_.at(c.shift), g.b = b_.at(c.shift), g.c = c_.at(c.shift);
    g.a_transposed = c.a_transposed, g.b_transposed = c.b_transposed;
    g.lda = c.a_transposed ? c.m : c.k;
    g.ldb = c.b_transposed ? c.k : c.n;
    g.ldc = c.n;
    g.alpha = c.alpha, g.beta = c.beta;
    if (c.bias) g.bias = bias_.at(c.shift);
    if (c.gelu) g.activation = Activation::kGelu;
    if (c.before) g.pre_activation = before_.at(c.shift);
    // The slow dimension first in memory: two of them never merge into one step.
    const int sizes[2] = {c.batch, c.batch2};
    for (int d = 0; d < 2; ++d) {
      if (sizes[d] == 1) continue;
      const int64_t step = d == 0 ? c.batch2 : 1;
      const int at = g.batch_dims++;
      g.batch_shape[at] = sizes[d];
      g.a_batch[at] = step * c.m * c.k;
      g.b_batch[at] = c.broadcast_b ? 0 : step * c.k * c.n;
      g.c_batch[at] = step * c.m * c.n;
    }
    return g;
  }

  void reset() { c_.write(old_); }
  double error() const {
    std::vector<double> got = c_.read();
    got.erase(got.begin(), got.begin() + case_.shift);
    double error = error_of(got, out_);
    if (case_.before) {
      got = before_.read();
      got.erase(got.begin(), got.begin() + case_.shift);
      error = std::max(error, error_of(got, pre_));
    }
    return error;
  }

 private:
  int64_t count(int64_t rows, int64_t columns) const {
    return rows * columns * case_.batch * case_.batch2;
  }

  void expect() {
    const Case& c = case_;
    const int64_t batches = static_cast<int64_t>(c.batch) * c.batch2;
    Buffer a(DType::kF64, a_.count()), b(DType::kF64, b_.count());
    Buffer product(DType::kF64, count(c.m, c.n));
    auto as_doubles = [](const Buffer& to) { return static_cast<double*>(to.at()); };
    widen_kernel<<<blocks_of(a.count()), 256>>>(a_.at(), as_doubles(a), a.count(), (int)c.dtype);
    widen_kernel<<<blocks_of(b.count()), 256>>>(b_.at(), as_doubles(b), b.count(), (int)c.dtype);
    const Steps sa = c.a_transposed ? Steps{1, c.m} : Steps{c.k, 1};
    const Steps sb = c.b_transposed ? Steps{1, c.k} : Steps{c.n, 1};
    for (int64_t i = 0; i < batches; ++i) {
      const int64_t mn = static_cast<int64_t>(c.m) * c.n;
      product_kernel<<<blocks_of(mn), 256>>>(
          as_doubles(a) + c.shift + i * c.m * c.k, sa,
          as_doubles(b) + c.shift + (c.broadcast_b ? 0 : i * c.k * c.n), sb,
          as_doubles(product) + i * mn, c.m, c.n, c.k);
    }
    fabric::cuda::check(cudaDeviceSynchronize(), "reference");
    out_ = product.read();
    pre_.resize(out_.size());
    for (size_t i = 0; i < out_.size(); ++i) {
      double v = c.alpha * out_[i] + (c.bias ? bias_values_[i % c.n + c.shift] : 0);
      pre_[i] = v;
      if (c.gelu) v = gelu(v);
      if (c.beta != 0) v += c.beta * old_[i + c.shift];
      out_[i] = v;
    }
  }

  Case case_;
  Buffer a_, b_, c_, before_, bias_;
  std::vector<double> old_, bias_values_, out_, pre_;
};

void through_entry(const Case& c, fabric::Stream& stream, Report& report) {
  Setup setup(c);
  setup.reset();
  fabric::cuda::check(cudaDeviceSynchronize(), "reset");
  cuda::gemm(setup.args(), stream);
  stream.synchronize();
  report.note(name_of(c), setup.error(), limit_of(c.dtype));
}

cuda::GemmProblem problem_of(const GemmArgs& g) {
  cuda::GemmProblem p{};
  p.m = (int)g.m, p.n = (int)g.n, p.k = (int)g.k;
  p.batch = g.batch_dims ? (int)g.batch_shape[0] : 1;
  p.a = g.a, p.b = g.b, p.c = g.c, p.bias = g.bias, p.before = g.pre_activation;
  p.lda = g.lda, p.ldb = g.ldb, p.ldc = g.ldc;
  p.a_batch = g.a_batch[0], p.b_batch = g.b_batch[0], p.c_batch = g.c_batch[0];
  p.alpha = (float)g.alpha, p.beta = (float)g.beta;
  return p;
}

GemmKind kind_of(const Case& c) {
  const auto layout = c.a_transposed
                          ? (c.b_transposed ? GemmLayout::kMK : GemmLayout::kMN)
                          : (c.b_transposed ? GemmLayout::kKK : GemmLayout::kKN);
  return {c.dtype, layout,
          c.gelu ? GemmEpilogue::kGelu : GemmEpilogue::kLinear};
}

void through_menu(const Case& c, fabric::Stream& stream, Report& report) {
  Setup setup(c);
  const cuda::GemmProblem p = problem_of(setup.args());
  const GemmGpu gpu = gemm_gpu(stream.device().properties());
  const auto candidates = gemm_candidates(gemm_menu(), kind_of(c), cuda::sizes_of(p), gpu);
  for (int i = 0; i < candidates.count; ++i) {
    setup.reset();
    fabric::cuda::check(cudaDeviceSynchronize(), "reset");
    cuda::launch_gemm(candidates.at[i], p, stream);
    stream.synchronize();
    report.note(std::string(candidates.at[i].kernel->name) + " splits " +
                    std::to_string(candidates.at[i].splits) + " swizzle " +
                        std::to_string(candidates.at[i].swizzle) + ": " + name_of(c),
                setup.error(), limit_of(c.dtype));
  }
}

}  // namespace

void check_gemm(fabric::Stream& stream, Report& report) {
  constexpr int kShapes[][3] = {{128, 128, 64}, {256, 512, 128}, {200, 72, 40}, {8, 264, 4096},
                                {1, 16, 8},     {1000, 136, 96}, {64, 36, 512}, {320, 768, 2048}};
  for (DType dtype : {DType::kBF16, DType::kF32, DType::kF16}) {
    for (const auto& s : kShapes) {
      for (int layout = 0; layout < 4; ++layout) {
        Case c{dtype, s[0], s[1], s[2], (layout & 1) != 0, (layout & 2) != 0};
        const int step = dtype == DType::kF32 ? 4 : 8;  // what a tensor map can hold
        const int a_inner = c.a_transposed ? c.m : c.k, b_inner = c.b_transposed ? c.k : c.n;
        if (a_inner % step || b_inner % step || c.n % step) continue;
        through_menu(c, stream, report);
        c.bias = true, c.alpha = 0.5;
        through_menu(c, stream, report);
        c.beta = 2;
        through_menu(c, stream, report);
        c.alpha = 1, c.beta = 0, c.gelu = true;
        through_menu(c, stream, report);
        c.before = true;
        through_menu(c, stream, report);
        c.gelu = c.before = c.bias = false, c.batch = 3;
        through_menu(c, stream, report);
      }
    }
    report.group((std::string("menu ") + fabric::dtype_name(dtype)).c_str());
  }
  for (bool tf32 : {true, false}) {
    cuda::set_tf32(tf32);
    for (DType dtype : {DType::kBF16, DType::kF32, DType::kF16, DType::kF64, DType::kI32,
                        DType::kI64}) {
      if (!tf32 && dtype != DType::kF32) continue;
      const bool floating = fabric::is_floating(dtype);
      for (const auto& s : {std::array{65, 33, 17}, std::array{128, 256, 64}, std::array{1, 10, 70},
                            std::array{300, 36, 128}}) {
        for (int layout = 0; layout < 4; ++layout) {
          Case c{dtype, s[0], s[1], s[2], (layout & 1) != 0, (layout & 2) != 0};
          through_entry(c, stream, report);
          c.shift = 1, c.bias = true;
          through_entry(c, stream, report);
          c.shift = 0, c.beta = 1;
          through_entry(c, stream, report);
          c.beta = 0;
          if (floating) {
            c.gelu = true;
            through_entry(c, stream, report);
            c.before = true;
            through_entry(c, stream, report);
          }
          c.gelu = c.before = c.bias = false, c.batch = 3;
          through_entry(c, stream, report);
          c.broadcast_b = true;
          through_entry(c, stream, report);
          c.batch2 = 2;
          through_entry(c, stream, report);
          c.broadcast_b = false;
          through_entry(c, stream, report);
        }
      }
      report.group((std::string(tf32 ? "entry " : "exact ") + fabric::dtype_name(dtype)).c_str());
    }
  }
  cuda::set_tf32(true);
}

void time_gemm(fabric::Stream& stream) {
  constexpr int kShapes[][3] = {{8192, 8192, 8192},  {32768, 2304, 768},  {32768, 768, 3072},
                                {32768, 3072, 768},  {32768, 50304, 768}, {8192, 1024, 256},
                                {4096, 384, 128},    {768, 2304, 32768},  {768, 3072, 32768}};
  for (DType dtype : {DType::kBF16, DType::kF32}) {
    for (const auto& s : kShapes) {
      for (int layout : {2, 0, 1}) {  // forward, gradient of x, gradient of the weight
        const Case c{dtype, s[0], s[1], s[2], (layout & 1) != 0, (layout & 2) != 0};
        Buffer a(dtype, (int64_t)c.m * c.k), b(dtype, (int64_t)c.k * c.n),
            out(dtype, (int64_t)c.m * c.n);
        a.scatter(), b.scatter();
        GemmArgs g{};
        g.dtype = dtype, g.m = c.m, g.n = c.n, g.k = c.k;
        g.a = a.at(), g.b = b.at(), g.c = out.at();
        g.a_transposed = c.a_transposed, g.b_transposed = c.b_transposed;
        g.lda = c.a_transposed ? c.m : c.k, g.ldb = c.b_transposed ? c.k : c.n, g.ldc = c.n;
        const cuda::GemmProblem p = problem_of(g);
        const GemmGpu gpu = gemm_gpu(stream.device().properties());
        const auto candidates = gemm_candidates(gemm_menu(), kind_of(c), cuda::sizes_of(p), gpu);
        const auto estimate = estimate_gemm(candidates, cuda::sizes_of(p), gpu);
        std::vector<std::function<void()>> runs{[&] { cuda::gemm(g, stream); }};
        for (int i = 0; i < candidates.count; ++i)
          runs.push_back([&, i] { cuda::launch_gemm(candidates.at[i], p, stream); });
        const std::vector<double> ms = cuda::time_in_turn(runs, 10, 3, stream);
        const double work = 2.0 * c.m * c.n * c.k / 1e9;
        std::printf("%-4s %dx%dx%d %c%c: %.1f us, %.0f TFLOP/s (estimate picks %s:%d)\n",
                    dtype == DType::kF32 ? "tf32" : "bf16", c.m, c.n, c.k,
                    c.a_transposed ? 'T' : 'N', c.b_transposed ? 'T' : 'N', ms[0] * 1e3,
                    work / ms[0], estimate.kernel ? estimate.kernel->name : "none",
                    estimate.splits);
        for (int i = 0; i < candidates.count; ++i)
          std::printf("    %-28s splits %2d swizzle %d %8.0f TFLOP/s\n",
                      candidates.at[i].kernel->name, candidates.at[i].splits,
                      candidates.at[i].swizzle, work / ms[i + 1]);
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace weft::check
