// norm_forward and norm_backward on CUDA: layer norm (Ba et al. 2016) and, without a mean,
// root-mean-square norm (Zhang & Sennrich 2019). Statistics take two passes over a row, which lies
// in cache by the second. Called through the kernel table. Short rows, which are most, go to
// norm_held.cu; of the others, gradients of weight and bias are in norm_weight.cu, norms of a sum in
// norm_add.cu.
#include "cuda/kernel_list.h"
#include "cuda/rows/norm_add.h"
#include "cuda/rows/norm_held.h"
#include "cuda/rows/norm_statistics.cuh"
#include "cuda/rows/norm_weight.h"

namespace weft::cuda {
namespace {

template <typename T, typename Y, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    forward_kernel(const T* in, const T* weight, const T* bias, Y* out, float* means, float* rstds,
                   int64_t rows, int64_t cols, double eps, bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const T* x = in + row * cols;
  Y* y = out + row * cols;
  const auto s = statistics<L>(team, x, cols, means != nullptr, eps, packs);
  sweep(team, x, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w];
    read_lanes<L>(x + i, v);
    // The rows of weight and bias may lie differently: element by element, from cache.
#pragma unroll
    for (int k = 0; k < w; ++k) {
      v[k] = (v[k] - s.mean) * s.rstd;
      if (weight != nullptr) v[k] *= convert<L>(weight[i + k]);
      if (bias != nullptr) v[k] += convert<L>(bias[i + k]);
    }
    write_lanes<L>(y + i, v);
  });
  if (team.rank() != 0) return;
  if (means != nullptr) means[row] = static_cast<float>(s.mean);
  rstds[row] = static_cast<float>(s.rstd);
}

/// Statistics in S: f32 as the forward pass kept them, or f64 taken again.
template <typename T, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    statistics_kernel(const T* in, double* means, double* rstds, int64_t rows, int64_t cols,
                      bool centred, double eps, bool packs) {
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const auto s = statistics<double>(team, in + row * cols, cols, centred, eps, packs);
  if (team.rank() != 0) return;
  means[row] = s.mean;
  rstds[row] = s.rstd;
}

/// grad_x = rstd * (g - mean(g) - x̂ * mean(g * x̂)) with g = grad_y * weight; without a mean,
/// mean(g) drops out. grad_x may be grad_y of the same type: each
/// thread writes what it alone reads.
template <typename T, typename Y, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    grad_x_kernel(const T* in, const Y* grad_y, const T* weight, const Lane<T>* means,
                  const Lane<T>* rstds, T* out, int64_t rows, int64_t cols, bool centred,
                  bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const T* x = in + row * cols;
  const Y* grad = grad_y + row * cols;
  T* to = out + row * cols;
  const L mean = centred ? means[row] : L(0), rstd = rstds[row];
  L sum = 0, dot = 0;
  sweep(team, x, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w], g[w];
    read_lanes<L>(x + i, v);
    read_lanes<L>(grad + i, g);
#pragma unroll
    for (int k = 0; k < w; ++k) {
      if (weight != nullptr) g[k] *= convert<L>(weight[i + k]);
      sum += g[k];
      dot += g[k] * (v[k] - mean);
    }
  });
  if (centred) sum = team.combine(sum, Plus{});
  dot = team.combine(dot, Plus{});
  const L shift = centred ? rstd * sum / static_cast<L>(cols) : L(0);
  const L slope = rstd * rstd * rstd * dot / static_cast<L>(cols);
  sweep(team, x, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w], g[w];
    read_lanes<L>(x + i, v);
    read_lanes<L>(grad + i, g);
#pragma unroll
    for (int k = 0; k < w; ++k) {
      if (weight != nullptr) g[k] *= convert<L>(weight[i + k]);
      g[k] = rstd * g[k] - shift - slope * (v[k] - mean);
    }
    write_lanes<L>(to + i, g);
  });
}

/// f(Y{}) for the type of y and grad_y beside rows of T.
template <typename T, typename F>
void with_result_type(const NormArgs& args, F&& f) {
  if constexpr (std::is_same_v<T, float>) {
    if (args.y_dtype == DType::kBF16) return f(BF16{});
    if (args.y_dtype == DType::kF16) return f(F16{});
  }
  f(T{});
}

template <typename T, typename Y>
void forward(const NormArgs& args, const char* name, cudaStream_t s) {
  const auto *x = static_cast<const T*>(args.x), *weight = static_cast<const T*>(args.weight);
  const auto* bias = static_cast<const T*>(args.bias);
  auto* y = static_cast<Y*>(args.y);
  launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
    forward_kernel<T, Y, decltype(team)><<<blocks, threads, 0, s>>>(
        x, weight, bias, y, args.mean, args.rstd, args.rows, args.cols, args.eps, same_phase(x, y));
  });
  check_launch(name);
}

template <typename T, typename Y>
void backward_with(const NormArgs& args, const char* name, const Lane<T>* means,
                   const Lane<T>* rstds, Stream& stream) {
  const bool centred = args.mean != nullptr;
  // Before grad_x, which may be written over grad_y.
  if (args.grad_weight != nullptr || args.grad_bias != nullptr)
    norm_grad_weight(args, means, rstds, stream);
  if (args.grad_sum != nullptr || args.grad_branch != nullptr)
    return norm_add_grad_x(args, means, rstds, stream);
  if (args.grad_x == nullptr) return;
  const auto *x = static_cast<const T*>(args.x), *weight = static_cast<const T*>(args.weight);
  const auto* grad = static_cast<const Y*>(args.grad_y);
  auto* out = static_cast<T*>(args.grad_x);
  const cudaStream_t s = enter(stream);
  launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
    grad_x_kernel<T, Y, decltype(team)>
        <<<blocks, threads, 0, s>>>(x, grad, weight, means, rstds, out, args.rows, args.cols,
                                    centred, same_phase(x, grad, out));
  });
  check_launch(name);
}

/// f32 statistics are not enough for gradients in f64, which take them again.
void backward_f64(const NormArgs& args, const char* name, Stream& stream) {
  const auto* x = static_cast<const double*>(args.x);
  Scratch scratch(stream, static_cast<size_t>(args.rows) * 2 * sizeof(double));
  double *means = scratch.as<double>(), *rstds = means + args.rows;
  const cudaStream_t s = enter(stream);
  launch_rows(args.rows, args.cols, kPack<double>, [&](auto team, unsigned blocks, int threads) {
    statistics_kernel<double, decltype(team)><<<blocks, threads, 0, s>>>(
        x, means, rstds, args.rows, args.cols, args.mean != nullptr, args.eps, same_phase(x));
  });
  check_launch(name);
  backward_with<double, double>(args, name, means, rstds, stream);
}

const char* name_of(const NormArgs& args) { return args.mean ? "layerNorm" : "rmsNorm"; }

}  // namespace

void norm_forward(const NormArgs& args, Stream& stream) {
  with_floating(args.dtype, name_of(args), [&](auto type) {
    if (args.rows == 0 || args.cols == 0) return;
    using T = typename decltype(type)::type;
    if (held_norm_forward(args, name_of(args), stream)) return;
    if (args.residual != nullptr) return norm_add_forward(args, stream);
    with_result_type<T>(
        args, [&](auto y) { forward<T, decltype(y)>(args, name_of(args), enter(stream)); });
  });
}

void norm_backward(const NormArgs& args, Stream& stream) {
  with_floating(args.dtype, name_of(args), [&](auto type) {
    using T = typename decltype(type)::type;
    if (args.rows == 0 || args.cols == 0) return;
    if constexpr (std::is_same_v<T, double>) {
      backward_f64(args, name_of(args), stream);
    } else if (!held_norm_backward(args, name_of(args), stream)) {
      with_result_type<T>(args, [&](auto y) {
        backward_with<T, decltype(y)>(args, name_of(args), args.mean, args.rstd, stream);
      });
    }
  });
}

}  // namespace weft::cuda
