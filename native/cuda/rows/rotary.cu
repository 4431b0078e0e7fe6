// rotary on CUDA: pairs of features of each head turned by the angle of its position, in packs of
// 16 bytes where the width allows them. Memory-bound: each element is read and written once, the
// tables come from cache. Called through the kernel table.
#include "cuda/element.cuh"
#include "cuda/kernel_list.h"
#include "cuda/launch.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

/// A thread takes `n` pairs: features at, at + 1, … of a head and their partners half a head on.
template <typename T, int n>
__global__ void __launch_bounds__(kThreads)
    rotary_kernel(const __grid_constant__ RotaryArgs args, int64_t items) {
  using L = Lane<T>;
  const int64_t half = args.width / 2, packs = half / n;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t item = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; item < items;
       item += step) {
    const int64_t head = item / packs, row = head / args.heads;
    const int64_t feature = (item - head * packs) * n, at = head * args.width + feature;
    const T* x = static_cast<const T*>(args.x) + at;
    T* out = static_cast<T*>(args.out) + at;
    Pack<T, n> a = load_pack<n>(x), b = load_pack<n>(x + half);
    if (head - row * args.heads < args.turned) {
      const int64_t angle = row % args.length * half + feature;
#pragma unroll
      for (int k = 0; k < n; ++k) {
        const L c = static_cast<L>(args.cos[angle + k]);
        const L s = static_cast<L>(args.inverse ? -args.sin[angle + k] : args.sin[angle + k]);
        const L p = convert<L>(a.v[k]), q = convert<L>(b.v[k]);
        a.v[k] = convert<T>(p * c + q * s);
        b.v[k] = convert<T>(q * c - p * s);
      }
    }
    store_pack(out, a);
    store_pack(out + half, b);
  }
}

template <typename T, int n>
void launch(const RotaryArgs& args, Stream& stream) {
  const int64_t items = args.rows * args.heads * (args.width / 2 / n);
  if (items == 0) return;
  const cudaStream_t s = enter(stream);
  const unsigned blocks = block_count(items, kThreads, int64_t{64} * multiprocessors(stream));
  rotary_kernel<T, n><<<blocks, kThreads, 0, s>>>(args, items);
  check_launch("rotary");
}

}  // namespace

void rotary(const RotaryArgs& args, Stream& stream) {
  with_floating(args.dtype, "rotary", [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int n = kPack<T>;
    const bool packs =
        args.width % (2 * n) == 0 && is_aligned(args.x, 16) && is_aligned(args.out, 16);
    if (packs) {
      launch<T, n>(args, stream);
    } else {
      launch<T, 1>(args, stream);
    }
  });
}

}  // namespace weft::cuda
