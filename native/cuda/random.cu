// Random fills and dropout on CUDA. Element i takes word i % 4 of Philox counter offset + i / 4
// (random/philox.h): the host driver's numbers for the same seed and offset, with normals equal to
// rounding. A thread makes the four elements of a counter. Called through the kernel table.
#include <cmath>
#include <limits>

#include "cuda/element.cuh"
#include "cuda/kernel_list.h"
#include "cuda/launch.h"
#include "fabric/half.h"
#include "random/philox.h"

namespace weft::cuda {
namespace {

using Kind = RandomArgs::Kind;

constexpr int kRandomThreads = 256;

/// Stores the values of one counter, the last ones of the draw one by one.
template <typename T>
__device__ __forceinline__ void store_four(T* out, int64_t first, int64_t count, bool packs,
                                           const Pack<T, 4>& values) {
  if (packs && first + 4 <= count) {
    store_pack(out + first, values);
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (first + k < count) out[first + k] = values.v[k];
}

struct Draw {
  uint64_t seed, offset;
  int64_t count;
  bool packs;            ///< every pointer suits packs of four
  const uint64_t* live;  ///< {seed, offset} in device memory, or nullptr

  __device__ __forceinline__ philox::Words words(int64_t counter) const {
    if (live == nullptr) return philox::generate(seed, offset + counter);
    return philox::generate(live[0], live[1] + offset + counter);
  }
};

/// Normals come in pairs: words 0 and 1 make elements 0 and 1, words 2 and 3 the others.
template <typename L>
__device__ __forceinline__ void draw_numbers(Kind kind, const philox::Words& words, L (&x)[4]) {
  float z[4];
  if (kind == Kind::kNormal) {
    philox::to_normal(words.w[0], words.w[1], &z[0], &z[1]);
    philox::to_normal(words.w[2], words.w[3], &z[2], &z[3]);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) z[k] = philox::to_uniform(words.w[k]);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) x[k] = z[k];
}

/// out = base + scale * number, at most `most`.
template <typename T, Kind kKind>
__global__ void __launch_bounds__(kRandomThreads)
    affine_kernel(Draw draw, T* out, Lane<T> base, Lane<T> scale, Lane<T> most) {
  using L = Lane<T>;
  const int64_t counter = static_cast<int64_t>(blockIdx.x) * kRandomThreads + threadIdx.x;
  if (counter * 4 >= draw.count) return;
  L x[4];
  draw_numbers<L>(kKind, draw.words(counter), x);
  Pack<T, 4> y;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    L v = base + scale * x[k];
    y.v[k] = convert<T>(v > most ? most : v);
  }
  store_four(out, counter * 4, draw.count, draw.packs, y);
}

template <typename T>
__global__ void __launch_bounds__(kRandomThreads)
    dropout_kernel(Draw draw, T* out, const T* in, uint8_t* mask, float p, Lane<T> scale) {
  using L = Lane<T>;
  const int64_t counter = static_cast<int64_t>(blockIdx.x) * kRandomThreads + threadIdx.x;
  const int64_t first = counter * 4;
  if (first >= draw.count) return;
  Pack<T, 4> x{};
  if (draw.packs && first + 4 <= draw.count) {
    x = load_pack<4>(in + first);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (first + k < draw.count) x.v[k] = in[first + k];
  }
  const philox::Words words = draw.words(counter);
  Pack<T, 4> y;
  Pack<uint8_t, 4> kept;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const bool keep = philox::to_uniform(words.w[k]) >= p;
    kept.v[k] = keep;
    y.v[k] = keep ? convert<T>(convert<L>(x.v[k]) * scale) : convert<T>(L(0));
  }
  store_four(out, first, draw.count, draw.packs, y);
  store_four(mask, first, draw.count, draw.packs, kept);
}

/// Whole numbers in [low, low + span): the top half of word * span.
template <typename T>
__global__ void __launch_bounds__(kRandomThreads)
    integers_kernel(Draw draw, T* out, int64_t low, uint64_t span) {
  const int64_t counter = static_cast<int64_t>(blockIdx.x) * kRandomThreads + threadIdx.x;
  if (counter * 4 >= draw.count) return;
  const philox::Words words = draw.words(counter);
  Pack<T, 4> y;
#pragma unroll
  for (int k = 0; k < 4; ++k)
    y.v[k] = convert<T>(low + static_cast<int64_t>(words.w[k] * span >> 32));
  store_four(out, counter * 4, draw.count, draw.packs, y);
}

/// The largest value of `dtype` below `bound`: rounding must not reach the excluded end of a range.
double largest_below(double bound, DType dtype) {
  constexpr double kMinus = -std::numeric_limits<double>::infinity();
  if (dtype == DType::kF64) return std::nextafter(bound, kMinus);
  const auto f = static_cast<float>(bound);
  if (dtype == DType::kF32)
    return static_cast<double>(f) < bound ? f : std::nextafter(f, static_cast<float>(kMinus));
  auto step = [bound](auto half) -> double {
    if (static_cast<double>(static_cast<float>(half)) < bound) return static_cast<float>(half);
    if ((half.bits & 0x7fffu) == 0) {
      half.bits = 0x8001u;
    } else {
      half.bits = static_cast<uint16_t>(half.bits & 0x8000u ? half.bits + 1 : half.bits - 1);
    }
    return static_cast<float>(half);
  };
  return dtype == DType::kF16 ? step(fabric::F16(f)) : step(fabric::BF16(f));
}

void check_args(const RandomArgs& args) {
  if (args.kind == Kind::kRandInt) {
    constexpr double kExact = 0x1p53;
    if (!(args.p1 > args.p0) || args.p1 - args.p0 > 0x1p32 || std::fabs(args.p0) > kExact ||
        std::fabs(args.p1) > kExact)
      fail(ErrorCode::kUsage, "randint: [%g, %g) must hold 1 to 2^32 whole numbers", args.p0,
           args.p1);
    if (args.dtype == DType::kBool)
      fail(ErrorCode::kDtype, "randint makes numbers, not %s", dtype_name(args.dtype));
  } else if (!is_floating(args.dtype)) {
    fail(ErrorCode::kDtype, "random: %s is not a floating dtype", dtype_name(args.dtype));
  }
}

unsigned counter_blocks(int64_t count) { return block_count(ceil_div(count, 4), kRandomThreads); }

template <typename T>
void launch_floating(const RandomArgs& args, const Draw& draw, cudaStream_t s) {
  using L = Lane<T>;
  T* out = static_cast<T*>(args.out);
  const unsigned blocks = counter_blocks(args.count);
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  const auto base = static_cast<L>(args.p0);
  if (args.kind == Kind::kNormal) {
    affine_kernel<T, Kind::kNormal><<<blocks, kRandomThreads, 0, s>>>(
        draw, out, base, static_cast<L>(args.p1), static_cast<L>(kNoLimit));
  } else if (args.kind == Kind::kUniform) {
    const double most = args.p1 > args.p0 ? largest_below(args.p1, args.dtype) : kNoLimit;
    affine_kernel<T, Kind::kUniform><<<blocks, kRandomThreads, 0, s>>>(
        draw, out, base, static_cast<L>(args.p1 - args.p0), static_cast<L>(most));
  } else {
    const L scale = args.p0 < 1 ? static_cast<L>(1 / (1 - args.p0)) : L(0);
    dropout_kernel<T><<<blocks, kRandomThreads, 0, s>>>(draw, out, static_cast<const T*>(args.in),
                                                        static_cast<uint8_t*>(args.mask),
                                                        static_cast<float>(args.p0), scale);
  }
  check_launch("random");
}

template <typename T>
void launch_integers(const RandomArgs& args, const Draw& draw, cudaStream_t s) {
  const auto low = static_cast<int64_t>(args.p0);
  const auto span = static_cast<uint64_t>(static_cast<int64_t>(args.p1) - low);
  integers_kernel<T><<<counter_blocks(args.count), kRandomThreads, 0, s>>>(
      draw, static_cast<T*>(args.out), low, span);
  check_launch("randint");
}

}  // namespace

void random(const RandomArgs& args, Stream& stream) {
  check_args(args);
  if (args.count == 0) return;
  const cudaStream_t s = enter(stream);
  const size_t pack = std::min<size_t>(16, 4 * dtype_bytes(args.dtype));
  const bool dropout = args.kind == Kind::kDropout;
  const Draw draw{args.seed, args.offset, args.count,
                  is_aligned(args.out, pack) &&
                      (!dropout || (is_aligned(args.in, pack) && is_aligned(args.mask, 4))),
                  args.live};
  if (args.kind != Kind::kRandInt)
    return with_floating(args.dtype, "random", [&](auto type) {
      launch_floating<typename decltype(type)::type>(args, draw, s);
    });
  switch (args.dtype) {
    case DType::kF32:
      return launch_integers<float>(args, draw, s);
    case DType::kF64:
      return launch_integers<double>(args, draw, s);
    case DType::kF16:
      return launch_integers<F16>(args, draw, s);
    case DType::kBF16:
      return launch_integers<BF16>(args, draw, s);
    case DType::kI64:
      return launch_integers<int64_t>(args, draw, s);
    case DType::kI32:
      return launch_integers<int32_t>(args, draw, s);
    case DType::kU8:
      return launch_integers<uint8_t>(args, draw, s);
    case DType::kBool:
      return;
  }
}

}  // namespace weft::cuda
