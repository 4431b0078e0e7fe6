// Attention without tensor cores: f64 (gradient checks), exact f32, and rows wider than 128. Called
// by attention_dispatch.cu. A warp owns a query (or, for the gradients of k and v, a key) and walks
// over the other side one row at a time; slow, and exact to the type computed in.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/attention/attention.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

constexpr int kWarps = 4;
constexpr size_t kMostShared = 200 << 10;

template <typename T>
using WideOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

__device__ int lane() { return threadIdx.x & 31; }
__device__ int warp() { return threadIdx.x / 32; }

/// This warp's row: index into (batch, heads, length), or -1.
__device__ int64_t own_row(int64_t rows) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + warp();
  return index < rows ? index : -1;
}

template <typename T>
__device__ T* row_at(const void* base, const int64_t (&stride)[3], const AttentionArgs& args,
                     int64_t head, int64_t row) {
  const int64_t at =
      head / args.heads * stride[0] + head % args.heads * stride[1] + row * stride[2];
  return static_cast<T*>(const_cast<void*>(base)) + at;
}

__device__ int64_t visible_keys(const AttentionArgs& args, int64_t row) {
  if (!args.causal) return args.kv_len;
  const int64_t n = row + 1 + args.kv_len - args.q_len;
  return n < 0 ? 0 : n < args.kv_len ? n : args.kv_len;
}

/// Over the warp; every lane gets the same bits.
template <typename Wide>
__device__ Wide sum_lanes(Wide v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
  return v;
}

template <typename T, typename U, typename Wide>
__device__ Wide dot(const T* x, const U* y, int64_t width, Wide) {
  Wide sum = 0;
  for (int64_t c = lane(); c < width; c += 32)
    sum += static_cast<Wide>(x[c]) * static_cast<Wide>(y[c]);
  return sum_lanes(sum);
}

template <typename Wide>
__device__ Wide exponential(Wide x) {
  if constexpr (std::is_same_v<Wide, double>) {
    return exp(x);
  } else {
    return expf(x);
  }
}

// The running maximum and sum of one query's scores.
template <typename Wide>
struct Running {
  Wide top = -INFINITY, sum = 0;

  /// The weight of `score` under the new maximum; `rescale` brings what was summed under it.
  __device__ Wide advance(Wide score, Wide* rescale) {
    const Wide high = score > top ? score : top;
    const Wide base = high == -INFINITY ? Wide(0) : high;
    *rescale = exponential(top - base);
    top = high;
    const Wide weight = exponential(score - base);
    sum = sum * *rescale + weight;
    return weight;
  }
  __device__ Wide lse() const { return top + log(sum); }
};

template <typename T>
__global__ void __launch_bounds__(kWarps * 32)
    forward_kernel(const __grid_constant__ AttentionLaunch launch) {
  using Wide = WideOf<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const AttentionArgs& args = launch.args;
  const int64_t index = own_row(args.batch * args.heads * args.q_len);
  if (index < 0) return;
  const int64_t head = index / args.q_len, row = index % args.q_len, width = args.width;
  Wide* sums = reinterpret_cast<Wide*>(memory) + warp() * width;  // each lane its own columns
  for (int64_t c = lane(); c < width; c += 32) sums[c] = 0;
  const T* q = row_at<T>(args.q, args.q_stride, args, head, row);
  Running<Wide> running;
  const int64_t visible = visible_keys(args, row);
  for (int64_t key = 0; key < visible; ++key) {
    const T* k = row_at<T>(args.k, args.k_stride, args, head, key);
    const T* v = row_at<T>(args.v, args.v_stride, args, head, key);
    Wide rescale;
    const Wide score = dot(q, k, width, Wide()) * static_cast<Wide>(args.scale);
    const Wide weight = running.advance(score, &rescale);
    for (int64_t c = lane(); c < width; c += 32)
      sums[c] = sums[c] * rescale + weight * static_cast<Wide>(v[c]);
  }
  const Wide inverse = running.sum == 0 ? Wide(0) : Wide(1) / running.sum;
  T* out = row_at<T>(args.out, args.out_stride, args, head, row);
  for (int64_t c = lane(); c < width; c += 32) out[c] = static_cast<T>(sums[c] * inverse);
  if (lane() == 0) args.lse[index] = static_cast<float>(running.lse());
}

/// For each query its log-sum-exp (the stored one is f32: not enough for f64) and grad_out · out.
template <typename T>
__global__ void __launch_bounds__(kWarps * 32)
    stats_kernel(const __grid_constant__ AttentionLaunch launch) {
  using Wide = WideOf<T>;
  const AttentionArgs& args = launch.args;
  const int64_t rows = args.batch * args.heads * args.q_len;
  const int64_t index = own_row(rows);
  if (index < 0) return;
  const int64_t head = index / args.q_len, row = index % args.q_len;
  Wide lse;
  if constexpr (std::is_same_v<Wide, double>) {
    const T* q = row_at<T>(args.q, args.q_stride, args, head, row);
    Running<Wide> running;
    const int64_t visible = visible_keys(args, row);
    for (int64_t key = 0; key < visible; ++key) {
      const T* k = row_at<T>(args.k, args.k_stride, args, head, key);
      Wide rescale;
      running.advance(dot(q, k, args.width, Wide()) * static_cast<Wide>(args.scale), &rescale);
    }
    lse = running.lse();
  } else {
    lse = args.lse[index];
  }
  const T* g = row_at<T>(args.grad_out, args.grad_out_stride, args, head, row);
  const T* o = row_at<T>(args.out, args.out_stride, args, head, row);
  const Wide delta = dot(g, o, args.width, Wide());
  if (lane() != 0) return;
  static_cast<Wide*>(launch.stats)[index] = lse;
  static_cast<Wide*>(launch.stats)[rows + index] = delta;
}

// What one (query, key) pair adds: the weight and the slope of its score.
template <typename T, typename Wide>
struct Pair {
  Wide weight, slope;

  __device__ Pair(const AttentionArgs& args, const T* q, const T* k, const T* v, const T* g,
                  Wide lse, Wide delta) {
    const Wide scale = static_cast<Wide>(args.scale);
    weight = exponential(dot(q, k, args.width, Wide()) * scale - lse);
    slope = weight * (dot(g, v, args.width, Wide()) - delta) * scale;
  }
};

template <typename T>
__global__ void __launch_bounds__(kWarps * 32)
    queries_kernel(const __grid_constant__ AttentionLaunch launch) {
  using Wide = WideOf<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const AttentionArgs& args = launch.args;
  const int64_t rows = args.batch * args.heads * args.q_len;
  const int64_t index = own_row(rows);
  if (index < 0) return;
  const int64_t head = index / args.q_len, row = index % args.q_len, width = args.width;
  Wide* sums = reinterpret_cast<Wide*>(memory) + warp() * width;
  for (int64_t c = lane(); c < width; c += 32) sums[c] = 0;
  const T* q = row_at<T>(args.q, args.q_stride, args, head, row);
  const T* g = row_at<T>(args.grad_out, args.grad_out_stride, args, head, row);
  const Wide lse = static_cast<const Wide*>(launch.stats)[index];
  const Wide delta = static_cast<const Wide*>(launch.stats)[rows + index];
  const int64_t visible = lse == -INFINITY ? 0 : visible_keys(args, row);
  for (int64_t key = 0; key < visible; ++key) {
    const T* k = row_at<T>(args.k, args.k_stride, args, head, key);
    const T* v = row_at<T>(args.v, args.v_stride, args, head, key);
    const Pair<T, Wide> pair(args, q, k, v, g, lse, delta);
    for (int64_t c = lane(); c < width; c += 32) sums[c] += pair.slope * static_cast<Wide>(k[c]);
  }
  T* to = row_at<T>(args.grad_q, args.grad_q_stride, args, head, row);
  for (int64_t c = lane(); c < width; c += 32) to[c] = static_cast<T>(sums[c]);
}

template <typename T>
__global__ void __launch_bounds__(kWarps * 32)
    keys_kernel(const __grid_constant__ AttentionLaunch launch) {
  using Wide = WideOf<T>;
  extern __shared__ __align__(16) unsigned char memory[];
  const AttentionArgs& args = launch.args;
  const int64_t index = own_row(args.batch * args.heads * args.kv_len);
  if (index < 0) return;
  const int64_t head = index / args.kv_len, key = index % args.kv_len, width = args.width;
  Wide* sum_k = reinterpret_cast<Wide*>(memory) + warp() * 2 * width;
  Wide* sum_v = sum_k + width;
  for (int64_t c = lane(); c < width; c += 32) sum_k[c] = sum_v[c] = 0;
  const T* k = row_at<T>(args.k, args.k_stride, args, head, key);
  const T* v = row_at<T>(args.v, args.v_stride, args, head, key);
  const Wide* lse = static_cast<const Wide*>(launch.stats) + head * args.q_len;
  const Wide* delta = lse + args.batch * args.heads * args.q_len;
  const int64_t begin = args.causal ? max(key + args.q_len - args.kv_len, int64_t{0}) : 0;
  for (int64_t row = begin; row < args.q_len; ++row) {
    if (lse[row] == -INFINITY) continue;
    const T* q = row_at<T>(args.q, args.q_stride, args, head, row);
    const T* g = row_at<T>(args.grad_out, args.grad_out_stride, args, head, row);
    const Pair<T, Wide> pair(args, q, k, v, g, lse[row], delta[row]);
    for (int64_t c = lane(); c < width; c += 32) {
      sum_k[c] += pair.slope * static_cast<Wide>(q[c]);
      sum_v[c] += pair.weight * static_cast<Wide>(g[c]);
    }
  }
  T* to_k = row_at<T>(args.grad_k, args.grad_k_stride, args, head, key);
  T* to_v = row_at<T>(args.grad_v, args.grad_v_stride, args, head, key);
  for (int64_t c = lane(); c < width; c += 32) {
    to_k[c] = static_cast<T>(sum_k[c]);
    to_v[c] = static_cast<T>(sum_v[c]);
  }
}

template <typename Kernel>
void start(Kernel kernel, const AttentionLaunch& launch, int64_t length, size_t row_bytes,
           const char* name) {
  const int64_t rows = launch.args.batch * launch.args.heads * length;
  if (rows == 0) return;
  const size_t shared = kWarps * row_bytes;
  if (shared > kMostShared)
    fabric::fail(fabric::ErrorCode::kShape, "attention: rows of width %lld are too wide",
                 (long long)launch.args.width);
  fabric::cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(shared)),
                      name);
  kernel<<<static_cast<unsigned>((rows + kWarps - 1) / kWarps), kWarps * 32, shared,
           launch.stream>>>(launch);
  fabric::cuda::check_launch(name);
}

template <typename T>
void forward(const AttentionLaunch& launch) {
  const size_t row = static_cast<size_t>(launch.args.width) * sizeof(WideOf<T>);
  start(forward_kernel<T>, launch, launch.args.q_len, row, "attention_forward");
}

template <typename T>
void backward(const AttentionLaunch& launch) {
  const AttentionArgs& args = launch.args;
  const size_t row = static_cast<size_t>(args.width) * sizeof(WideOf<T>);
  start(stats_kernel<T>, launch, args.q_len, 0, "attention_backward");
  if (args.grad_q) start(queries_kernel<T>, launch, args.q_len, row, "attention_backward");
  if (args.grad_k && args.grad_v)
    start(keys_kernel<T>, launch, args.kv_len, 2 * row, "attention_backward");
}

}  // namespace

void attention_forward_simt(const AttentionLaunch& launch) {
  switch (launch.args.dtype) {
    case DType::kF64:
      return forward<double>(launch);
    case DType::kF32:
      return forward<float>(launch);
    case DType::kF16:
      return forward<__half>(launch);
    default:
      return forward<__nv_bfloat16>(launch);
  }
}

void attention_backward_simt(const AttentionLaunch& launch) {
  switch (launch.args.dtype) {
    case DType::kF64:
      return backward<double>(launch);
    case DType::kF32:
      return backward<float>(launch);
    case DType::kF16:
      return backward<__half>(launch);
    default:
      return backward<__nv_bfloat16>(launch);
  }
}

}  // namespace weft::cuda
