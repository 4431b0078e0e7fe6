// Random fills and dropout on the host driver. Element i takes word i % 4 of Philox counter offset
// + i / 4 (random/philox.h), so the numbers do not depend on how the work is split. Normals come in
// pairs: words 0 and 1 make elements 0 and 1 of a counter, words 2 and 3 the others. Called through
// the kernel table.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cpu/elementwise/convert_block.h"
#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/elementwise/vector_math.h"
#include "cpu/register.h"
#include "fabric/half.h"
#include "fabric/host_queue.h"
#include "random/philox.h"

namespace weft::cpu {
namespace {

using Kind = RandomArgs::Kind;

constexpr int64_t kCounters = 128;
constexpr int64_t kTile = 4 * kCounters;

/// The words of kCounters counters in a row, one array a word, so that every loop runs over lanes.
struct WordBlock {
  alignas(32) uint32_t w[4][kCounters];
};

void generate_block(uint64_t seed, uint64_t first, WordBlock& block) {
  for (int64_t k = 0; k < kCounters; ++k) {
    philox::Words words = philox::generate(seed, first + static_cast<uint64_t>(k));
    for (int j = 0; j < 4; ++j) block.w[j][k] = words.w[j];
  }
}

/// philox::to_uniform; the signed conversion has a vector instruction.
inline float uniform_of(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}

void uniform_tile(const WordBlock& block, float* out) {
  for (int64_t k = 0; k < kCounters; ++k) {  // spelled out: the vectoriser wants one loop
    out[4 * k] = uniform_of(block.w[0][k]);
    out[4 * k + 1] = uniform_of(block.w[1][k]);
    out[4 * k + 2] = uniform_of(block.w[2][k]);
    out[4 * k + 3] = uniform_of(block.w[3][k]);
  }
}

/// philox::to_normal over a block.
void normal_tile(const WordBlock& block, float* out) {
  for (int pair = 0; pair < 4; pair += 2) {
    alignas(32) float x[kCounters], y[kCounters];
    for (int64_t k = 0; k < kCounters; ++k) {
      float u = uniform_of(block.w[pair][k]) + 0x1p-24f;
      float angle = uniform_of(block.w[pair + 1][k]) * 6.283185307179586f;
      float r = std::sqrt(-2.0f * math::log(u));
      x[k] = r * math::trig(angle, 1);
      y[k] = r * math::trig(angle, 0);
    }
    for (int64_t k = 0; k < kCounters; ++k) {
      out[4 * k + pair] = x[k];
      out[4 * k + pair + 1] = y[k];
    }
  }
}

/// The largest value of `dtype` below `bound`: rounding must not reach the excluded end of a range.
double largest_below(double bound, DType dtype) {
  constexpr double kMinus = -std::numeric_limits<double>::infinity();
  if (dtype == DType::kF64) return std::nextafter(bound, kMinus);
  if (dtype == DType::kF32) {
    auto f = static_cast<float>(bound);
    return static_cast<double>(f) < bound ? f : std::nextafter(f, static_cast<float>(kMinus));
  }
  auto step = [bound](auto half) -> double {
    if (static_cast<double>(static_cast<float>(half)) < bound) return static_cast<float>(half);
    if ((half.bits & 0x7fffu) == 0) {
      half.bits = 0x8001u;
    } else {
      half.bits = static_cast<uint16_t>(half.bits & 0x8000u ? half.bits + 1 : half.bits - 1);
    }
    return static_cast<float>(half);
  };
  auto f = static_cast<float>(bound);
  return dtype == DType::kF16 ? step(fabric::F16(f)) : step(fabric::BF16(f));
}

/// values[i] = a + b * x[i], at most `limit`.
template <typename T>
void affine_tile(const float* x, double a, double b, double limit, T* values) {
  const T base = static_cast<T>(a), scale = static_cast<T>(b), most = static_cast<T>(limit);
  for (int64_t i = 0; i < kTile; ++i) {
    T v = base + scale * static_cast<T>(x[i]);
    values[i] = v > most ? most : v;
  }
}

template <typename T>
void dropout_tile(const float* u, double p, T* values, uint8_t* mask, int64_t n) {
  const auto threshold = static_cast<float>(p);
  const T scale = p < 1 ? static_cast<T>(1 / (1 - p)) : T(0);
  for (int64_t i = 0; i < n; ++i) {
    bool keep = u[i] >= threshold;
    mask[i] = keep;
    values[i] = keep ? values[i] * scale : T(0);
  }
}

/// One task, prepared when it is enqueued.
struct Draw {
  RandomArgs args;
  LaneType lane;
  double limit;  // of uniform values
};

template <typename T>
void run_floating(const Draw& d, int64_t begin, int64_t end) {
  const RandomArgs& args = d.args;
  const auto size = static_cast<int64_t>(dtype_bytes(args.dtype));
  const StoreFn store = store_fn(d.lane, args.dtype);
  const LoadFn load = load_fn(d.lane, args.dtype);
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  WordBlock block;
  alignas(64) float numbers[kTile];
  alignas(64) T values[kTile];
  for (int64_t at = begin; at < end; at += kTile) {
    const int64_t n = std::min(kTile, end - at);
    generate_block(args.seed, args.offset + static_cast<uint64_t>(at / 4), block);
    if (args.kind == Kind::kNormal) {
      normal_tile(block, numbers);
      affine_tile(numbers, args.p0, args.p1, kNoLimit, values);
    } else {
      uniform_tile(block, numbers);
      if (args.kind == Kind::kUniform) {
        affine_tile(numbers, args.p0, args.p1 - args.p0, d.limit, values);
      } else {
        load(values, static_cast<const char*>(args.in) + at * size, size, n);
        dropout_tile(numbers, args.p0, values, static_cast<uint8_t*>(args.mask) + at, n);
      }
    }
    store(static_cast<char*>(args.out) + at * size, size, values, n);
  }
}

/// Whole numbers in [low, high): the top half of word * span, which is unbiased to span / 2^32.
void run_integers(const Draw& d, int64_t begin, int64_t end) {
  const RandomArgs& args = d.args;
  const auto size = static_cast<int64_t>(dtype_bytes(args.dtype));
  const StoreFn store = store_fn(LaneType::kI64, args.dtype);
  const auto low = static_cast<int64_t>(args.p0);
  const auto span = static_cast<uint64_t>(static_cast<int64_t>(args.p1) - low);
  WordBlock block;
  alignas(64) int64_t values[kTile];
  for (int64_t at = begin; at < end; at += kTile) {
    generate_block(args.seed, args.offset + static_cast<uint64_t>(at / 4), block);
    for (int64_t k = 0; k < kCounters; ++k)
      for (int j = 0; j < 4; ++j)
        values[4 * k + j] = low + static_cast<int64_t>(block.w[j][k] * span >> 32);
    store(static_cast<char*>(args.out) + at * size, size, values, std::min(kTile, end - at));
  }
}

void check(const RandomArgs& args) {
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

}  // namespace

void random(const RandomArgs& args, Stream& stream) {
  check(args);
  if (args.count == 0) return;
  const bool bounded = args.kind == Kind::kUniform && args.p1 > args.p0;
  const Draw draw{
      args, lane_of(args.dtype),
      bounded ? largest_below(args.p1, args.dtype) : std::numeric_limits<double>::infinity()};
  fabric::host::enqueue(stream.handle(), [draw] {
    auto run = draw.args.kind == Kind::kRandInt ? run_integers
               : draw.lane == LaneType::kF64    ? run_floating<double>
                                                : run_floating<float>;
    Draw now = draw;
    if (const uint64_t* live = draw.args.live) {
      now.args.seed = live[0];
      now.args.offset += live[1];
    }
    static_assert(kElementGrain % kTile == 0, "a task must start at a counter");
    if (now.args.count <= kElementGrain) return run(now, 0, now.args.count);
    fabric::host::parallel_for(now.args.count, kElementGrain,
                               [&](int64_t begin, int64_t end) { run(now, begin, end); });
  });
}

}  // namespace weft::cpu
