// See norm_add.h. The forward pass reads branch and residual once, writes their sum rounded to the stream's type and
// takes the statistics of what it wrote, so that the bits are those of an addition and a norm behind it. Each thread
// reads again what it wrote itself: sweeps over one row give a thread the same elements.
#include "cuda/rows/norm_add.h"
#include "cuda/rows/norm_statistics.cuh"

namespace weft::cuda {
namespace {

template <typename T, typename Y, typename B, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    forward_kernel(const B* branch, const T* residual, const T* weight, const T* bias, T* sum,
                   Y* out, float* means, float* rstds, int64_t rows, int64_t cols, double eps,
                   bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const B* from = branch + row * cols;
  const T* stream = residual + row * cols;
  T* x = sum + row * cols;
  Y* y = out + row * cols;
  sweep(team, stream, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w], b[w];
    read_lanes<L>(stream + i, v);
    read_lanes<L>(from + i, b);
#pragma unroll
    for (int k = 0; k < w; ++k) v[k] += b[k];
    write_lanes<L>(x + i, v);
  });
  const auto s = statistics<L>(team, x, cols, means != nullptr, eps, packs);
  sweep(team, x, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w];
    read_lanes<L>(x + i, v);
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

/// The gradient of the sum, norm.cu's of x with what came for the sum itself added; written for the stream, the branch,
/// or both.
template <typename T, typename Y, typename B, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    backward_kernel(const T* in, const Y* grad_y, const T* grad_sum, const T* weight,
                    const Lane<T>* means, const Lane<T>* rstds, T* grad_stream, B* grad_branch,
                    int64_t rows, int64_t cols, bool centred, bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const int64_t start = row * cols;
  const T* x = in + start;
  const Y* grad = grad_y + start;
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
    if (grad_sum != nullptr) {
      read_lanes<L>(grad_sum + start + i, v);
#pragma unroll
      for (int k = 0; k < w; ++k) g[k] += v[k];
    }
    if (grad_stream != nullptr) write_lanes<L>(grad_stream + start + i, g);
    if (grad_branch != nullptr) write_lanes<L>(grad_branch + start + i, g);
  });
}

/// f(Y{}, B{}): of y, and of a branch beside a stream of T.
template <typename T, typename F>
void with_types(const NormArgs& args, F&& f) {
  if constexpr (std::is_same_v<T, float>) {
    const bool low_branch = args.branch_dtype != args.dtype;
    if (args.y_dtype == DType::kBF16) {
      return low_branch ? f(BF16{}, BF16{}) : f(BF16{}, float{});
    }
    if (args.y_dtype == DType::kF16) return low_branch ? f(F16{}, F16{}) : f(F16{}, float{});
  }
  f(T{}, T{});
}

const char* name_of(const NormArgs& args) { return args.mean ? "addLayerNorm" : "addRmsNorm"; }

template <typename T, typename Y, typename B>
void forward(const NormArgs& args, Stream& stream) {
  const auto* branch = static_cast<const B*>(args.x);
  const auto *residual = static_cast<const T*>(args.residual),
             *bias = static_cast<const T*>(args.bias);
  const auto* weight = static_cast<const T*>(args.weight);
  auto* sum = static_cast<T*>(args.sum);
  auto* y = static_cast<Y*>(args.y);
  const cudaStream_t s = enter(stream);
  launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
    forward_kernel<T, Y, B, decltype(team)><<<blocks, threads, 0, s>>>(
        branch, residual, weight, bias, sum, y, args.mean, args.rstd, args.rows, args.cols,
        args.eps, same_phase(residual, branch, sum, y));
  });
  check_launch(name_of(args));
}

template <typename T>
void grad_x(const NormArgs& args, const Lane<T>* means, const Lane<T>* rstds, Stream& stream) {
  with_types<T>(args, [&](auto of_y, auto of_branch) {
    using Y = decltype(of_y);
    using B = decltype(of_branch);
    const auto *x = static_cast<const T*>(args.x), *weight = static_cast<const T*>(args.weight);
    const auto* grad = static_cast<const Y*>(args.grad_y);
    const auto* grad_sum = static_cast<const T*>(args.grad_sum);
    auto* to_stream = static_cast<T*>(args.grad_x);
    auto* to_branch = static_cast<B*>(args.grad_branch);
    const bool centred = args.mean != nullptr,
               packs = same_phase(x, grad, grad_sum, to_stream, to_branch);
    const cudaStream_t s = enter(stream);
    launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
      backward_kernel<T, Y, B, decltype(team)>
          <<<blocks, threads, 0, s>>>(x, grad, grad_sum, weight, means, rstds, to_stream, to_branch,
                                      args.rows, args.cols, centred, packs);
    });
    check_launch(name_of(args));
  });
}

}  // namespace

void norm_add_forward(const NormArgs& args, Stream& stream) {
  with_floating(args.dtype, name_of(args), [&](auto type) {
    using T = typename decltype(type)::type;
    with_types<T>(args, [&](auto y, auto branch) {
      forward<T, decltype(y), decltype(branch)>(args, stream);
    });
  });
}

void norm_add_grad_x(const NormArgs& args, const float* means, const float* rstds, Stream& stream) {
  with_floating(args.dtype, name_of(args), [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (!std::is_same_v<T, double>) grad_x<T>(args, means, rstds, stream);
  });
}

void norm_add_grad_x(const NormArgs& args, const double* means, const double* rstds,
                     Stream& stream) {
  grad_x<double>(args, means, rstds, stream);
}

}  // namespace weft::cuda
