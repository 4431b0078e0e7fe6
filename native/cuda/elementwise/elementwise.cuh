// Kernels and launches of elementwise operators over a TensorIterator: dense (16-byte packs, a tile
// a block), strided (index math by fast divisors, in packs where rows allow) and mixed (dtypes
// known only at run time). A functor takes lane values. Used by the unary, binary, ternary and cast
// operators.
#pragma once

#include "cuda/arithmetic.cuh"
#include "cuda/element.cuh"
#include "cuda/elementwise/lane_kind.h"
#include "cuda/launch.h"
#include "cuda/strides.h"

namespace weft::cuda {

inline constexpr int kElementThreads = 256;
/// Blocks a multiprocessor that kernels are compiled for: bounds registers at 64, or at 128 where
/// lanes take two.
template <typename Lane>
inline constexpr int kElementBlocks = sizeof(Lane) == 8 ? 2 : 4;

/// Fewer threads a block for small tensors, so that they spread over the multiprocessors.
inline int dense_threads(int64_t numel, int64_t per_thread, Stream& stream) {
  return numel >= per_thread * kElementThreads * multiprocessors(stream) ? kElementThreads : 64;
}

/// How a functor's lane relates to elements: out = f(lane values), converted.
template <typename F, typename Out, typename... In>
__device__ __forceinline__ Out apply(const F& f, In... in) {
  using L = typename F::Lane;
  return convert<Out>(f(convert<L>(in)...));
}

// Dense kernels: a block takes U rounds of a pack a thread; what is left behind the last whole pack
// goes to the first threads of the last block.

template <typename F, typename Out, typename A, int V, int U>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks<typename F::Lane>)
    dense1_kernel(F f, Out* out, const A* a, int64_t n) {
  const int64_t step = static_cast<int64_t>(blockDim.x) * V, packed = n / V * V;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * step * U + threadIdx.x * V;
  Pack<A, V> x[U];
#pragma unroll
  for (int u = 0; u < U; ++u)
    if (i + u * step < packed) x[u] = load_pack<V>(a + i + u * step);
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (i + u * step >= packed) break;
    Pack<Out, V> y;
#pragma unroll
    for (int k = 0; k < V; ++k) y.v[k] = apply<F, Out>(f, x[u].v[k]);
    store_pack(out + i + u * step, y);
  }
  const int64_t last = packed + threadIdx.x;
  if (blockIdx.x + 1 == gridDim.x && last < n) out[last] = apply<F, Out>(f, a[last]);
}

/// dense1_kernel for a functor of many operators, whose code must appear once only: packs rest in
/// shared memory, each thread's in its own place, and a loop goes over their elements.
template <typename F, typename Out, typename A, int V, int U>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks<typename F::Lane>)
    staged1_kernel(F f, Out* out, const A* a, int64_t n) {
  __shared__ Pack<A, V> x[U][kElementThreads];
  __shared__ Pack<Out, V> y[U][kElementThreads];
  const int64_t step = static_cast<int64_t>(blockDim.x) * V, packed = n / V * V;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * step * U + threadIdx.x * V;
  Pack<A, V> loaded[U];
#pragma unroll
  for (int u = 0; u < U; ++u)
    if (i + u * step < packed) loaded[u] = load_pack<V>(a + i + u * step);
#pragma unroll
  for (int u = 0; u < U; ++u)
    if (i + u * step < packed) x[u][threadIdx.x] = loaded[u];
#pragma unroll 1
  for (int j = 0; j < U * V; ++j) {
    const int u = j / V, k = j % V;
    const int64_t at = i + u * step + k;
    if (at >= n) continue;
    const bool whole = i + u * step < packed;
    const Out value = apply<F, Out>(f, whole ? x[u][threadIdx.x].v[k] : a[at]);
    if (whole) {
      y[u][threadIdx.x].v[k] = value;
    } else {
      out[at] = value;
    }
  }
#pragma unroll
  for (int u = 0; u < U; ++u)
    if (i + u * step < packed) store_pack(out + i + u * step, y[u][threadIdx.x]);
}

template <typename F, typename Out, typename A, typename B, int V, int U>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks<typename F::Lane>)
    dense2_kernel(F f, Out* out, const A* a, const B* b, int64_t n) {
  const int64_t step = static_cast<int64_t>(blockDim.x) * V, packed = n / V * V;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * step * U + threadIdx.x * V;
  Pack<A, V> x[U];
  Pack<B, V> w[U];
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (i + u * step < packed) {
      x[u] = load_pack<V>(a + i + u * step);
      w[u] = load_pack<V>(b + i + u * step);
    }
  }
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (i + u * step >= packed) break;
    Pack<Out, V> y;
#pragma unroll
    for (int k = 0; k < V; ++k) y.v[k] = apply<F, Out>(f, x[u].v[k], w[u].v[k]);
    store_pack(out + i + u * step, y);
  }
  const int64_t last = packed + threadIdx.x;
  if (blockIdx.x + 1 == gridDim.x && last < n) out[last] = apply<F, Out>(f, a[last], b[last]);
}

/// V elements of one operand of an item: a pack, or one element for all.
template <int V, typename T>
__device__ __forceinline__ Pack<T, V> load_item(const char* p, bool spread) {
  if constexpr (V > 1) {
    if (spread) {
      Pack<T, V> pack;
      const T one = *reinterpret_cast<const T*>(p);
#pragma unroll
      for (int k = 0; k < V; ++k) pack.v[k] = one;
      return pack;
    }
  }
  return load_pack<V>(reinterpret_cast<const T*>(p));
}

template <typename F, typename Out, typename A, int V, int U>
__global__ void __launch_bounds__(kElementThreads) strided1_kernel(F f, StridedLoop<2> loop) {
  const uint32_t first = blockIdx.x * (kElementThreads * U) + threadIdx.x;
  Pack<A, V> x[U];
  int64_t at[U][2];
#pragma unroll
  for (int u = 0; u < U; ++u) {
    const uint32_t item = first + u * kElementThreads;
    if (item < loop.items) {
      loop.offsets(item, at[u]);
      x[u] = load_item<V, A>(loop.data[1] + at[u][1], loop.spread[1]);
    }
  }
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (first + u * kElementThreads >= loop.items) return;
    Pack<Out, V> y;
#pragma unroll
    for (int k = 0; k < V; ++k) y.v[k] = apply<F, Out>(f, x[u].v[k]);
    store_pack(reinterpret_cast<Out*>(loop.data[0] + at[u][0]), y);
  }
}

template <typename F, typename Out, typename A, typename B, int V, int U>
__global__ void __launch_bounds__(kElementThreads) strided2_kernel(F f, StridedLoop<3> loop) {
  const uint32_t first = blockIdx.x * (kElementThreads * U) + threadIdx.x;
  Pack<A, V> x[U];
  Pack<B, V> w[U];
  int64_t at[U][3];
#pragma unroll
  for (int u = 0; u < U; ++u) {
    const uint32_t item = first + u * kElementThreads;
    if (item < loop.items) {
      loop.offsets(item, at[u]);
      x[u] = load_item<V, A>(loop.data[1] + at[u][1], loop.spread[1]);
      w[u] = load_item<V, B>(loop.data[2] + at[u][2], loop.spread[2]);
    }
  }
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (first + u * kElementThreads >= loop.items) return;
    Pack<Out, V> y;
#pragma unroll
    for (int k = 0; k < V; ++k) y.v[k] = apply<F, Out>(f, x[u].v[k], w[u].v[k]);
    store_pack(reinterpret_cast<Out*>(loop.data[0] + at[u][0]), y);
  }
}

/// Any dtypes, any layout: out = f(lanes), or the lane itself converted.
template <int kOperands>
struct DTypes {
  DType of[kOperands];
};
template <typename F, int kOperands>
__global__ void __launch_bounds__(kElementThreads)
    mixed_kernel(F f, StridedLoop<kOperands> loop, DTypes<kOperands> dtypes) {
  using L = typename F::Lane;
  const uint32_t item = blockIdx.x * kElementThreads + threadIdx.x;
  if (item >= loop.items) return;
  int64_t at[kOperands];
  loop.offsets(item, at);
  char* out = loop.data[0] + at[0];
  const L a = load_any<L>(loop.data[1] + at[1], dtypes.of[1]);
  if constexpr (kOperands == 2) {
    store_any<L>(out, dtypes.of[0], f(a));
  } else {
    store_any<L>(out, dtypes.of[0], f(a, load_any<L>(loop.data[2] + at[2], dtypes.of[2])));
  }
}

template <int V>
bool dense_packs(const TensorIterator& it) {
  if (!it.contiguous) return false;
  for (int o = 0; o < it.operands; ++o) {
    const size_t bytes = dtype_bytes(it.operand[o].dtype) * V;
    if (!is_aligned(it.operand[o].data, bytes < 16 ? bytes : 16)) return false;
  }
  return true;
}

template <typename T>
T* data_of(const TensorIterator& it, int operand) {
  return reinterpret_cast<T*>(it.operand[operand].data);
}

/// Dtypes of `it` must be Out and A. kPackRows: strided loops get packs too. kStaged: the functor's
/// code is large (staged1_kernel).
template <typename F, typename Out, typename A, bool kPackRows = false, bool kStaged = false>
void launch1(F f, const TensorIterator& it, Stream& stream, const char* name) {
  constexpr int V = 16 / static_cast<int>(sizeof(A) > sizeof(Out) ? sizeof(A) : sizeof(Out));
  const cudaStream_t s = enter(stream);
  if (dense_packs<V>(it)) {
    constexpr int U = sizeof(A) < 4 || kStaged ? 2 : 4;
    const int threads = dense_threads(it.numel, V * U, stream);
    const unsigned blocks = block_count(it.numel, int64_t{V} * U * threads);
    if constexpr (kStaged) {
      staged1_kernel<F, Out, A, V, U>
          <<<blocks, threads, 0, s>>>(f, data_of<Out>(it, 0), data_of<A>(it, 1), it.numel);
    } else {
      dense1_kernel<F, Out, A, V, U>
          <<<blocks, threads, 0, s>>>(f, data_of<Out>(it, 0), data_of<A>(it, 1), it.numel);
    }
    return check_launch(name);
  }
  for_each_piece(it, [&](const TensorIterator& piece) {
    if constexpr (kPackRows && V > 1) {
      if (rows_pack(piece, V)) {
        StridedLoop<2> loop(piece, V);
        strided1_kernel<F, Out, A, V, 2>
            <<<block_count(loop.items, 2 * kElementThreads), kElementThreads, 0, s>>>(f, loop);
        return check_launch(name);
      }
    }
    StridedLoop<2> loop(piece, 1);
    constexpr int U = kStaged ? 1 : 4;
    strided1_kernel<F, Out, A, 1, U>
        <<<block_count(loop.items, U * kElementThreads), kElementThreads, 0, s>>>(f, loop);
    check_launch(name);
  });
}

template <typename F, typename Out, typename A, typename B, bool kPackRows = false>
void launch2(F f, const TensorIterator& it, Stream& stream, const char* name) {
  constexpr int V = 16 / static_cast<int>(sizeof(A) > sizeof(Out) ? sizeof(A) : sizeof(Out));
  const cudaStream_t s = enter(stream);
  if (dense_packs<V>(it)) {
    constexpr int U = 2;
    const int threads = dense_threads(it.numel, V * U, stream);
    dense2_kernel<F, Out, A, B, V, U>
        <<<block_count(it.numel, int64_t{V} * U * threads), threads, 0, s>>>(
            f, data_of<Out>(it, 0), data_of<A>(it, 1), data_of<B>(it, 2), it.numel);
    return check_launch(name);
  }
  for_each_piece(it, [&](const TensorIterator& piece) {
    if constexpr (kPackRows && V > 1) {
      if (rows_pack(piece, V)) {
        StridedLoop<3> loop(piece, V);
        strided2_kernel<F, Out, A, B, V, 2>
            <<<block_count(loop.items, 2 * kElementThreads), kElementThreads, 0, s>>>(f, loop);
        return check_launch(name);
      }
    }
    StridedLoop<3> loop(piece, 1);
    strided2_kernel<F, Out, A, B, 1, 4>
        <<<block_count(loop.items, 4 * kElementThreads), kElementThreads, 0, s>>>(f, loop);
    check_launch(name);
  });
}

template <int kOperands, typename F>
void launch_mixed(F f, const TensorIterator& it, Stream& stream, const char* name) {
  const cudaStream_t s = enter(stream);
  DTypes<kOperands> dtypes;
  for (int o = 0; o < kOperands; ++o) dtypes.of[o] = it.operand[o].dtype;
  for_each_piece(it, [&](const TensorIterator& piece) {
    StridedLoop<kOperands> loop(piece, 1);
    mixed_kernel<F, kOperands>
        <<<block_count(loop.items, kElementThreads), kElementThreads, 0, s>>>(f, loop, dtypes);
    check_launch(name);
  });
}

}  // namespace weft::cuda
