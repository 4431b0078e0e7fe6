// softmax_forward and softmax_backward over the rows of a matrix on CUDA, also in logarithms. The
// forward pass reads a row once for maximum and sum together (online normaliser, Milakov &
// Gimelshein 2018) and once more, from cache, for the values. Called through the kernel table.
#include "cuda/kernel_list.h"
#include "cuda/rows/online_sum.cuh"
#include "cuda/team.cuh"

namespace weft::cuda {
namespace {

template <typename T, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    forward_kernel(const T* in, T* out, int64_t rows, int64_t cols, bool log, bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const T* x = in + row * cols;
  T* y = out + row * cols;
  const OnlineSum<L> total = row_exp_sum<L>(team, x, cols, packs);
  const L top = total.top, scale = log ? log_of(total.sum) : L(1) / total.sum;
  sweep(team, x, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w];
    read_lanes<L>(x + i, v);
#pragma unroll
    for (int k = 0; k < w; ++k) v[k] = log ? (v[k] - top) - scale : exp_of(v[k] - top) * scale;
    write_lanes<L>(y + i, v);
  });
}

/// out may be grad: each thread writes the elements that it alone reads in the second pass.
template <typename T, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    backward_kernel(const T* grad, const T* y, T* out, int64_t rows, int64_t cols, bool log,
                    bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  grad += row * cols;
  y += row * cols;
  out += row * cols;
  L sum = 0;
  sweep(team, grad, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L g[w], v[w];
    read_lanes<L>(grad + i, g);
    if (!log) read_lanes<L>(y + i, v);
#pragma unroll
    for (int k = 0; k < w; ++k) sum += log ? g[k] : g[k] * v[k];
  });
  sum = team.combine(sum, Plus{});
  sweep(team, grad, cols, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L g[w], v[w];
    read_lanes<L>(grad + i, g);
    read_lanes<L>(y + i, v);
#pragma unroll
    for (int k = 0; k < w; ++k) g[k] = log ? g[k] - exp_of(v[k]) * sum : (g[k] - sum) * v[k];
    write_lanes<L>(out + i, g);
  });
}

const char* name_of(const SoftmaxArgs& args) { return args.log ? "logSoftmax" : "softmax"; }

}  // namespace

void softmax_forward(const SoftmaxArgs& args, Stream& stream) {
  with_floating(args.dtype, name_of(args), [&](auto type) {
    using T = typename decltype(type)::type;
    if (args.rows == 0 || args.cols == 0) return;
    const auto* in = static_cast<const T*>(args.in);
    auto* out = static_cast<T*>(args.out);
    const cudaStream_t s = enter(stream);
    launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
      forward_kernel<T, decltype(team)>
          <<<blocks, threads, 0, s>>>(in, out, args.rows, args.cols, args.log, same_phase(in, out));
    });
    check_launch(name_of(args));
  });
}

void softmax_backward(const SoftmaxArgs& args, Stream& stream) {
  with_floating(args.dtype, name_of(args), [&](auto type) {
    using T = typename decltype(type)::type;
    if (args.rows == 0 || args.cols == 0) return;
    const auto* grad = static_cast<const T*>(args.in);
    const auto* y = static_cast<const T*>(args.aux);
    auto* out = static_cast<T*>(args.out);
    const cudaStream_t s = enter(stream);
    launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
      backward_kernel<T, decltype(team)><<<blocks, threads, 0, s>>>(
          grad, y, out, args.rows, args.cols, args.log, same_phase(grad, y, out));
    });
    check_launch(name_of(args));
  });
}

}  // namespace weft::cuda
