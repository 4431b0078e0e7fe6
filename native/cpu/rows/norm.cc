// norm_forward and norm_backward: layer norm (Ba et al. 2016) and, without a mean, root-mean-square
// norm (Zhang & Sennrich 2019). Called through the kernel table. Statistics take two passes over a
// row that lies in cache. Gradients of weight and bias are summed over fixed blocks of rows and
// then over the blocks in order: the same bits for any thread count.
#include <algorithm>
#include <cmath>
#include <memory>

#include "cpu/elementwise/lanes.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

template <typename T>
struct Statistics {
  T mean, rstd;
};

template <typename T>
Statistics<T> statistics(const T* x, int64_t n, bool centred, double eps) {
  T mean = 0;
  if (centred) mean = lane_sum(n, x) / static_cast<T>(n);
  const T squares = lane_sum<T>(n, [mean](auto v) { return (v - mean) * (v - mean); }, x);
  return {mean, T(1) / std::sqrt(squares / static_cast<T>(n) + static_cast<T>(eps))};
}

// sum = residual + branch of one row, rounded to the stream's type; the result as the norm reads it. `scratch` holds
// one row, `more` two.
template <typename T>
const T* add_row(const NormArgs& args, int64_t r, T* scratch, T* more) {
  const int64_t n = args.cols;
  const T* branch = read_panel<T>(args.branch_dtype, args.x, r * n, n, more);
  const T* residual = read_panel<T>(args.dtype, args.residual, r * n, n, more + n);
  T* sum = panel_target<T>(args.dtype, args.sum, r * n, scratch);
  for (int64_t i = 0; i < n; ++i) sum[i] = residual[i] + branch[i];
  store_panel<T>(args.dtype, args.sum, r * n, n, sum);
  return read_panel<T>(args.dtype, args.sum, r * n, n, scratch);
}

template <typename T>
void forward(const NormArgs& args) {
  const int64_t n = args.cols;
  const WholePanel<T> weight(args.dtype, args.weight, n), bias(args.dtype, args.bias, n);
  const T *w = weight.get(), *b = bias.get();
  fabric::host::parallel_for(args.rows, rows_per_chunk(n), [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, 4 * n);
    for (int64_t r = begin; r < end; ++r) {
      const T* x = args.residual ? add_row(args, r, scratch, scratch + 2 * n)
                                 : read_panel<T>(args.dtype, args.x, r * n, n, scratch);
      T* y = panel_target<T>(args.y_dtype, args.y, r * n, scratch + n);
      const auto [mean, rstd] = statistics(x, n, args.mean != nullptr, args.eps);
      if (w && b) {
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * w[i] + b[i];
      } else if (w) {
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * w[i];
      } else {
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd + (b ? b[i] : T(0));
      }
      if (args.mean) args.mean[r] = static_cast<float>(mean);
      args.rstd[r] = static_cast<float>(rstd);
      store_panel<T>(args.y_dtype, args.y, r * n, n, y);
    }
  });
}

// One row of grad_x = rstd * (g - mean(g) - x̂ * mean(g * x̂)) with g = grad_y * weight; without a
// mean, mean(g) drops out.
template <typename T>
void grad_x_row(const T* x, const T* grad, const T* w, Statistics<T> s, bool centred, int64_t n,
                T* out) {
  const T mean = s.mean, rstd = s.rstd;
  T sum = 0, dot;
  if (w) {
    if (centred) sum = lane_dot(n, grad, w);
    dot = lane_sum<T>(n, [mean](auto g, auto u, auto v) { return g * u * (v - mean); }, grad, w, x);
  } else {
    if (centred) sum = lane_sum(n, grad);
    dot = lane_sum<T>(n, [mean](auto g, auto v) { return g * (v - mean); }, grad, x);
  }
  const T shift = rstd * sum / static_cast<T>(n);
  const T slope = rstd * rstd * rstd * dot / static_cast<T>(n);
  if (w) {
    for (int64_t i = 0; i < n; ++i) out[i] = rstd * grad[i] * w[i] - shift - slope * (x[i] - mean);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = rstd * grad[i] - shift - slope * (x[i] - mean);
  }
}

// grad[column] = sum over blocks of partials[block][column], in order of the blocks.
template <typename T>
void combine(DType dtype, const T* partials, int64_t blocks, int64_t step, int64_t n, void* grad) {
  fabric::host::parallel_for(n, 1024, [&](int64_t begin, int64_t end) {
    T* sum = thread_scratch<T>(0, end - begin);
    std::fill(sum, sum + (end - begin), T(0));
    for (int64_t block = 0; block < blocks; ++block) {
      const T* from = partials + block * step + begin;
      for (int64_t i = 0; i < end - begin; ++i) sum[i] += from[i];
    }
    store_panel<T>(dtype, grad, begin, end - begin, sum);
  });
}

template <typename T>
void backward(const NormArgs& args) {
  const int64_t n = args.cols;
  const bool sums = args.grad_weight != nullptr || args.grad_bias != nullptr;
  const bool centred = args.mean != nullptr;
  // At most 64 blocks bound the memory of the partial sums.
  const int64_t block = std::max(rows_per_chunk(n), (args.rows + 63) / 64);
  const int64_t blocks = (args.rows + block - 1) / block, step = 2 * n;
  std::unique_ptr<T[]> partials(sums ? new T[static_cast<size_t>(blocks * step)] : nullptr);
  const WholePanel<T> weight(args.dtype, args.weight, n);
  fabric::host::parallel_for(args.rows, block, [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, 4 * n);
    T* grad_weight = sums ? partials.get() + begin / block * step : nullptr;
    T* grad_bias = sums ? grad_weight + n : nullptr;
    if (sums) std::fill(grad_weight, grad_weight + step, T(0));
    for (int64_t r = begin; r < end; ++r) {
      const T* x = read_panel<T>(args.dtype, args.x, r * n, n, scratch);
      const T* grad = read_panel<T>(args.y_dtype, args.grad_y, r * n, n, scratch + n);
      // f32 statistics are not enough for gradients in f64, which take them again.
      Statistics<T> s;
      if constexpr (std::is_same_v<T, double>) {
        s = statistics(x, n, centred, args.eps);
      } else {
        s = {centred ? args.mean[r] : 0, args.rstd[r]};
      }
      if (sums) {  // before grad_x, which may be written over grad_y
        for (int64_t i = 0; i < n; ++i) {
          grad_weight[i] += grad[i] * ((x[i] - s.mean) * s.rstd);
          grad_bias[i] += grad[i];
        }
      }
      if (args.grad_x || args.grad_branch) {
        T* out = args.grad_x ? panel_target<T>(args.dtype, args.grad_x, r * n, scratch + 2 * n)
                             : scratch + 2 * n;
        grad_x_row(x, grad, weight.get(), s, centred, n, out);
        if (args.grad_sum) {
          const T* more = read_panel<T>(args.dtype, args.grad_sum, r * n, n, scratch + 3 * n);
          for (int64_t i = 0; i < n; ++i) out[i] += more[i];
        }
        if (args.grad_branch) store_panel<T>(args.branch_dtype, args.grad_branch, r * n, n, out);
        if (args.grad_x) store_panel<T>(args.dtype, args.grad_x, r * n, n, out);
      }
    }
  });
  if (args.grad_weight) combine(args.dtype, partials.get(), blocks, step, n, args.grad_weight);
  if (args.grad_bias) combine(args.dtype, partials.get() + n, blocks, step, n, args.grad_bias);
}

}  // namespace

void norm_forward(const NormArgs& args, Stream& stream) {
  with_compute_type(args.dtype, args.mean ? "layerNorm" : "rmsNorm", [&](auto zero) {
    using T = decltype(zero);
    fabric::host::enqueue(stream.handle(), [args] { forward<T>(args); });
  });
}

void norm_backward(const NormArgs& args, Stream& stream) {
  with_compute_type(args.dtype, args.mean ? "layerNorm" : "rmsNorm", [&](auto zero) {
    using T = decltype(zero);
    fabric::host::enqueue(stream.handle(), [args] { backward<T>(args); });
  });
}

}  // namespace weft::cpu
