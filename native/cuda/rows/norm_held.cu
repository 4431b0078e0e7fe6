// Norms of rows that a warp can hold in its registers: each row is read once, statistics are taken from
// registers, and the backward pass sums the gradients of weight and bias beside those of x. Called by
// norm.cu for rows of up to 1024 elements that begin and end at 16 bytes.
//
// Gradients of weight and bias: the warps of a fixed number of blocks take rows in turn and keep
// sums of their lanes' columns; a block adds its warps' in order, and norm_total() adds the blocks'. What
// is added to what depends on the shape alone, so the bits are the same each time.
#include "cuda/kernel_list.h"
#include "cuda/rows/norm_held.h"
#include "cuda/rows/norm_weight.h"
#include "cuda/team.cuh"

namespace weft::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kMostHeld = 32;     // elements of a row that a lane holds
constexpr int kGradBlocks = 264;  // two for each multiprocessor of a large GPU

/// A warp's share of a row: packs lane, lane + 32, ... of kPack<T> elements, zeros past the end.
template <typename T, int kPacks>
struct Held {
  static constexpr int kEach = kPack<T>;
  float at[kPacks][kEach];

  template <typename From>
  __device__ __forceinline__ void read(const From* row, int lane, int cols) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int i = (p * 32 + lane) * kEach;
      if (i < cols) {
        read_lanes<float>(row + i, at[p]);
      } else {
#pragma unroll
        for (float& each : at[p]) each = 0;
      }
    }
  }
  /// f(element, its column) for the elements within the row.
  template <typename F>
  __device__ __forceinline__ void each(int lane, int cols, F f) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int i = (p * 32 + lane) * kEach;
      if (i >= cols) continue;
#pragma unroll
      for (int k = 0; k < kEach; ++k) f(at[p][k], p, k);
    }
  }
  template <typename To>
  __device__ __forceinline__ void write(To* row, int lane, int cols) const {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int i = (p * 32 + lane) * kEach;
      if (i < cols) write_lanes<float>(row + i, at[p]);
    }
  }
};

/// in: what is normed, or the branch B that is added to `residual` of T, where that is given; `sum` takes the
/// sum, rounded to T before it is normed.
template <typename T, typename Y, typename B, int kPacks>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const B* in, const T* residual, const T* weight, const T* bias, T* sums, Y* out,
                   float* means, float* rstds, int64_t rows, int cols, float eps) {
  const int lane = threadIdx.x & 31;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (row >= rows) return;
  Held<T, kPacks> x, other;
  x.read(in + row * cols, lane, cols);
  if (residual != nullptr) {
    other.read(residual + row * cols, lane, cols);
    x.each(lane, cols,
           [&](float& v, int p, int k) { v = convert<float>(convert<T>(other.at[p][k] + v)); });
    x.write(sums + row * cols, lane, cols);
  }
  const float share = 1.0f / static_cast<float>(cols);
  float mean = 0;
  if (means != nullptr) {
    float sum = 0;
    x.each(lane, cols, [&](float v, int, int) { sum += v; });
    mean = warp_combine(sum, Plus{}) * share;
  }
  float squares = 0;
  x.each(lane, cols, [&](float v, int, int) { squares += (v - mean) * (v - mean); });
  const float rstd = 1.0f / sqrtf(warp_combine(squares, Plus{}) * share + eps);
  x.each(lane, cols, [&](float& v, int, int) { v = (v - mean) * rstd; });
  if (weight != nullptr) {
    other.read(weight, lane, cols);
    x.each(lane, cols, [&](float& v, int p, int k) { v *= other.at[p][k]; });
  }
  if (bias != nullptr) {
    other.read(bias, lane, cols);
    x.each(lane, cols, [&](float& v, int p, int k) { v += other.at[p][k]; });
  }
  x.write(out + row * cols, lane, cols);
  if (lane != 0) return;
  if (means != nullptr) means[row] = mean;
  rstds[row] = rstd;
}

/// partials: (blocks, 2, cols), of weight and of bias, or nullptr where neither is wanted. grad_sum: what came
/// for x beside its norm, or nullptr. The gradient of x goes to `out`, to `branch` in a type of its own, or both.
template <typename T, typename Y, typename B, int kPacks>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const T* in, const Y* grad_y, const T* grad_sum, const T* weight,
                    const float* means, const float* rstds, T* out, B* branch, float* partials,
                    int64_t rows, int cols) {
  extern __shared__ float sums[];  // (2, cols)
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const float share = 1.0f / static_cast<float>(cols);
  float of_weight[kPacks][kPack<T>] = {}, of_bias[kPacks][kPack<T>] = {};
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warp; row < rows;
       row += static_cast<int64_t>(gridDim.x) * kWarps) {
    Held<T, kPacks> x, g;
    x.read(in + row * cols, lane, cols);
    g.read(grad_y + row * cols, lane, cols);
    const float mean = means != nullptr ? means[row] : 0.0f, rstd = rstds[row];
    x.each(lane, cols, [&](float& v, int p, int k) {
      v = (v - mean) * rstd;
      of_weight[p][k] += g.at[p][k] * v;
      of_bias[p][k] += g.at[p][k];
    });
    if (out == nullptr && branch == nullptr) continue;
    if (weight != nullptr) {
      Held<T, kPacks> scale;
      scale.read(weight, lane, cols);
      g.each(lane, cols, [&](float& v, int p, int k) { v *= scale.at[p][k]; });
    }
    float sum = 0, dot = 0;
    x.each(lane, cols, [&](float v, int p, int k) {
      sum += g.at[p][k];
      dot += g.at[p][k] * v;
    });
    const float shift = means != nullptr ? warp_combine(sum, Plus{}) * share : 0.0f;
    const float slope = warp_combine(dot, Plus{}) * share;
    x.each(lane, cols,
           [&](float& v, int p, int k) { v = rstd * (g.at[p][k] - shift - slope * v); });
    if (grad_sum != nullptr) {
      g.read(grad_sum + row * cols, lane, cols);
      x.each(lane, cols, [&](float& v, int p, int k) { v += g.at[p][k]; });
    }
    if (out != nullptr) x.write(out + row * cols, lane, cols);
    if (branch != nullptr) x.write(branch + row * cols, lane, cols);
  }
  if (partials == nullptr) return;
  for (int turn = 0; turn < kWarps; ++turn) {
    if (warp == turn) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
#pragma unroll
        for (int k = 0; k < kPack<T>; ++k) {
          const int column = (p * 32 + lane) * kPack<T> + k;
          if (column >= cols) continue;
          sums[column] = (turn == 0 ? 0.0f : sums[column]) + of_weight[p][k];
          sums[cols + column] = (turn == 0 ? 0.0f : sums[cols + column]) + of_bias[p][k];
        }
      }
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < 2 * cols; i += kThreads)
    partials[static_cast<int64_t>(blockIdx.x) * 2 * cols + i] = sums[i];
}

/// launch(Width<packs a lane>) for rows of `cols`.
template <typename T, typename F>
void with_packs(int64_t cols, F&& launch) {
  const int64_t packs = ceil_div(cols, 32 * kPack<T>);
  if (packs <= 1) return launch(Width<1>{});
  if (packs <= 2) return launch(Width<2>{});
  if (packs <= 3) return launch(Width<3>{});
  if (packs <= 4) return launch(Width<4>{});
  if constexpr (kPack<T> == 4) {
    if (packs <= 6) return launch(Width<6>{});
    return launch(Width<8>{});
  }
}

/// Whether the rows of `pointers` begin and end at the bounds of packs of kPack<T> elements.
template <typename T, typename... P>
bool holds(const NormArgs& args, const P*... pointers) {
  if (args.cols > 32 * kMostHeld || args.cols % kPack<T> != 0) return false;
  return (is_aligned(pointers, sizeof(P) * kPack<T>) && ...);
}

template <typename T, typename Y, typename B>
bool forward(const NormArgs& args, const char* name, Stream& stream) {
  const auto* x = static_cast<const B*>(args.x);
  const auto *residual = static_cast<const T*>(args.residual),
             *weight = static_cast<const T*>(args.weight), *bias = static_cast<const T*>(args.bias);
  auto* sum = static_cast<T*>(args.sum);
  auto* y = static_cast<Y*>(args.y);
  if (!holds<T>(args, x, residual, weight, bias, sum, y)) return false;
  const cudaStream_t s = enter(stream);
  with_packs<T>(args.cols, [&](auto packs) {
    forward_kernel<T, Y, B, decltype(packs)::value>
        <<<block_count(args.rows, kWarps), kThreads, 0, s>>>(
            x, residual, weight, bias, sum, y, args.mean, args.rstd, args.rows,
            static_cast<int>(args.cols), static_cast<float>(args.eps));
  });
  check_launch(name);
  return true;
}

template <typename T, typename Y, typename B>
bool backward(const NormArgs& args, const char* name, Stream& stream) {
  const auto *x = static_cast<const T*>(args.x), *weight = static_cast<const T*>(args.weight),
             *grad_sum = static_cast<const T*>(args.grad_sum);
  const auto* grad = static_cast<const Y*>(args.grad_y);
  auto* out = static_cast<T*>(args.grad_x);
  auto* branch = static_cast<B*>(args.grad_branch);
  if (!holds<T>(args, x, weight, grad_sum, grad, out, branch)) return false;
  const cudaStream_t s = enter(stream);
  const unsigned blocks = block_count(args.rows, kWarps, kGradBlocks);
  const bool sums = args.grad_weight != nullptr || args.grad_bias != nullptr;
  const size_t bytes = sums ? sizeof(float) * 2 * static_cast<size_t>(args.cols) : 0;
  Scratch scratch(stream, bytes * blocks);
  auto* partials = scratch.as<float>();
  with_packs<T>(args.cols, [&](auto packs) {
    backward_kernel<T, Y, B, decltype(packs)::value>
        <<<blocks, kThreads, bytes, s>>>(x, grad, grad_sum, weight, args.mean, args.rstd, out,
                                         branch, partials, args.rows, static_cast<int>(args.cols));
  });
  check_launch(name);
  if (sums) norm_total<T>(args, partials, static_cast<int>(blocks), stream);
  return true;
}

/// f(T{}, Y{}, B{}) for the types of x, of y and of a branch; false for f64.
template <typename F>
bool with_types(const NormArgs& args, bool with_branch, F&& f) {
  if (args.dtype == DType::kF16) return f(F16{}, F16{}, F16{});
  if (args.dtype == DType::kBF16) return f(BF16{}, BF16{}, BF16{});
  if (args.dtype != DType::kF32) return false;
  const bool low_branch = with_branch && args.branch_dtype != args.dtype;
  if (args.y_dtype == DType::kBF16)
    return low_branch ? f(float{}, BF16{}, BF16{}) : f(float{}, BF16{}, float{});
  if (args.y_dtype == DType::kF16)
    return low_branch ? f(float{}, F16{}, F16{}) : f(float{}, F16{}, float{});
  return !low_branch && f(float{}, float{}, float{});
}

}  // namespace

bool held_norm_forward(const NormArgs& args, const char* name, Stream& stream) {
  return with_types(args, args.residual != nullptr, [&](auto t, auto y, auto b) {
    return forward<decltype(t), decltype(y), decltype(b)>(args, name, stream);
  });
}

bool held_norm_backward(const NormArgs& args, const char* name, Stream& stream) {
  return with_types(args, args.grad_branch != nullptr, [&](auto t, auto y, auto b) {
    return backward<decltype(t), decltype(y), decltype(b)>(args, name, stream);
  });
}

}  // namespace weft::cuda
