// The loops behind reduce_tile.h.
#include "cpu/reduce/reduce_tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cpu/elementwise/lane_arithmetic.h"

namespace weft::cpu {
namespace {

/// 32 bytes of lanes, so that accumulators stay in registers whatever the loop optimiser thinks.
template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(32)));
};

/// combine(..., map(x[i])) over n values with four vectors of accumulators that start at `start`.
template <typename T, typename Map, typename Combine>
T fold(const T* x, int64_t n, T start, Map map, Combine combine) {
  using V = typename VectorOf<T>::type;
  constexpr int64_t kWidth = 32 / sizeof(T);
  V acc[4];
  for (V& a : acc) a = V{} + start;
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    for (int k = 0; k < 4; ++k) {
      V v;
      std::memcpy(&v, x + i + k * kWidth, sizeof(V));
      acc[k] = combine(acc[k], map(v));
    }
  }
  V v = combine(combine(acc[0], acc[1]), combine(acc[2], acc[3]));
  T lanes[kWidth];
  std::memcpy(lanes, &v, sizeof(V));
  for (int64_t w = kWidth / 2; w > 0; w /= 2)
    for (int64_t k = 0; k < w; ++k) lanes[k] = combine(lanes[k], lanes[k + w]);
  T result = lanes[0];
  for (; i < n; ++i) result = combine(result, map(x[i]));
  return result;
}

// Functors on lanes and on vectors of lanes. Integer sums wrap: the build has no -ftrapv, and
// vector arithmetic wraps by definition.
constexpr auto kSame = [](auto v) { return v; };
constexpr auto kPlus = [](auto a, auto b) {
  if constexpr (std::is_integral_v<decltype(a)>) {
    return lane::add(a, b);
  } else {
    return a + b;
  }
};
constexpr auto kSquare = [](auto v) {
  if constexpr (std::is_integral_v<decltype(v)>) {
    return lane::mul(v, v);
  } else {
    return v * v;
  }
};

template <typename T>
auto& slot(Partial& p) {
  if constexpr (std::is_integral_v<T>) {
    return p.integer;
  } else {
    return p.value;
  }
}
template <typename T>
using Wide = std::conditional_t<std::is_integral_v<T>, int64_t, double>;

template <typename T, bool squares>
void sum_tile(const void* data, int64_t n, int64_t, Partial& into) {
  auto* x = static_cast<const T*>(data);
  Wide<T> sum = squares ? fold<T>(x, n, T(0), kSquare, kPlus) : fold<T>(x, n, T(0), kSame, kPlus);
  slot<T>(into) = lane::add<Wide<T>>(slot<T>(into), sum);
  into.count += n;
}

template <typename T, bool max>
T extremum(const T* x, int64_t n) {
  return fold<T>(x, n, x[0], kSame,
                 [](auto a, auto b) { return max ? lane::maximum(a, b) : lane::minimum(a, b); });
}

template <typename T, bool max>
void extremum_tile(const void* data, int64_t n, int64_t, Partial& into) {
  Wide<T> v = extremum<T, max>(static_cast<const T*>(data), n);
  auto& s = slot<T>(into);
  s = into.count == 0 ? v : (max ? lane::maximum<Wide<T>>(s, v) : lane::minimum<Wide<T>>(s, v));
  into.count += n;
}

/// NaN counts as the largest; of equals, the first.
template <typename W>
bool beats(W challenger, W holder) {
  return challenger > holder || (challenger != challenger && holder == holder);
}

template <typename T>
void argmax_tile(const void* data, int64_t n, int64_t first, Partial& into) {
  auto* x = static_cast<const T*>(data);
  T best = extremum<T, true>(x, n);
  auto& s = slot<T>(into);
  if (into.count == 0 || beats<Wide<T>>(best, s)) {
    int64_t at = 0;
    while (at + 1 < n && !(x[at] == best || x[at] != x[at])) ++at;
    s = best;
    into.index = first + at;
  }
  into.count += n;
}

void combine_spread(double mean, double spread, int64_t count, Partial& into) {
  const auto a = static_cast<double>(into.count), b = static_cast<double>(count);
  const double delta = mean - into.value;
  into.count += count;
  into.value += delta * (b / (a + b));
  into.spread += spread + delta * delta * (a * b / (a + b));
}

template <typename T>
void variance_tile(const void* data, int64_t n, int64_t, Partial& into) {
  auto* x = static_cast<const T*>(data);
  // Both passes find the tile in the first-level cache.
  const T mean = fold<T>(x, n, T(0), kSame, kPlus) / static_cast<T>(n);
  const T spread = fold<T>(x, n, T(0), [mean](auto v) { return (v - mean) * (v - mean); }, kPlus);
  // `mean` is rounded to the lane: what the deviations still sum to corrects it.
  const double rest = fold<T>(x, n, T(0), [mean](auto v) { return v - mean; }, kPlus);
  const double shift = rest / static_cast<double>(n);
  combine_spread(mean + shift, std::max(0.0, spread - rest * shift), n, into);
}

template <typename T>
TileReduce pick(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kSum:
    case ReduceKind::kMean:
      return sum_tile<T, false>;
    case ReduceKind::kSumSquares:
      return sum_tile<T, true>;
    case ReduceKind::kMax:
      return extremum_tile<T, true>;
    case ReduceKind::kMin:
      return extremum_tile<T, false>;
    case ReduceKind::kArgMax:
      return argmax_tile<T>;
    case ReduceKind::kVar:
      if constexpr (std::is_floating_point_v<T>) return variance_tile<T>;
      return nullptr;
  }
  return nullptr;
}

template <typename W>
void combine_ordered(ReduceKind kind, W later, const Partial& from, W& value, Partial& into) {
  switch (kind) {
    case ReduceKind::kMax:
      value = lane::maximum(value, later);
      break;
    case ReduceKind::kMin:
      value = lane::minimum(value, later);
      break;
    case ReduceKind::kArgMax:
      if (!beats(later, value)) break;
      value = later;
      into.index = from.index;
      break;
    default:
      value = lane::add(value, later);
  }
}

}  // namespace

TileReduce tile_reduce(ReduceKind kind, LaneType lane) {
  switch (lane) {
    case LaneType::kF32:
      return pick<float>(kind);
    case LaneType::kF64:
      return pick<double>(kind);
    case LaneType::kI64:
      return pick<int64_t>(kind);
  }
  return nullptr;
}

void combine(ReduceKind kind, LaneType lane, const Partial& later, Partial& into) {
  if (later.count == 0) return;
  if (into.count == 0) {
    into = later;
    return;
  }
  if (kind == ReduceKind::kVar) return combine_spread(later.value, later.spread, later.count, into);
  if (lane == LaneType::kI64) {
    combine_ordered(kind, later.integer, later, into.integer, into);
  } else {
    combine_ordered(kind, later.value, later, into.value, into);
  }
  into.count += later.count;
}

LaneType result_lane(ReduceKind kind, LaneType lane) {
  if (kind == ReduceKind::kArgMax) return LaneType::kI64;
  return lane == LaneType::kI64 && kind != ReduceKind::kMean ? LaneType::kI64 : LaneType::kF64;
}

int64_t result_integer(const ReduceArgs& args, const Partial& p) {
  switch (args.kind) {
    case ReduceKind::kArgMax:
      return std::max<int64_t>(0, p.index);
    case ReduceKind::kMax:
      return p.count ? p.integer : std::numeric_limits<int64_t>::min();
    case ReduceKind::kMin:
      return p.count ? p.integer : std::numeric_limits<int64_t>::max();
    default:
      return p.integer;
  }
}

double result_floating(const ReduceArgs& args, LaneType lane, const Partial& p) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto n = static_cast<double>(args.reduced_count);
  switch (args.kind) {
    case ReduceKind::kMean:
      return (lane == LaneType::kI64 ? static_cast<double>(p.integer) : p.value) / n;
    case ReduceKind::kVar:
      return p.spread / std::max(0.0, n - args.correction);
    case ReduceKind::kMax:
      return p.count ? p.value : -kInfinity;
    case ReduceKind::kMin:
      return p.count ? p.value : kInfinity;
    default:
      return p.value;
  }
}

void store_results(const ReduceArgs& args, LaneType lane, int64_t first, const Partial* partials,
                   int64_t count) {
  const LaneType from = result_lane(args.kind, lane);
  const StoreFn store = store_fn(from, args.out_dtype);
  const auto size = static_cast<int64_t>(dtype_bytes(args.out_dtype));
  char* out = static_cast<char*>(args.out) + first * size;
  constexpr int64_t kBatch = 128;
  for (int64_t at = 0; at < count; at += kBatch) {
    const int64_t n = std::min(kBatch, count - at);
    double floating[kBatch];
    int64_t integers[kBatch];
    for (int64_t i = 0; i < n; ++i) {
      if (from == LaneType::kI64) {
        integers[i] = result_integer(args, partials[at + i]);
      } else {
        floating[i] = result_floating(args, lane, partials[at + i]);
      }
    }
    store(out + at * size, size, from == LaneType::kI64 ? static_cast<void*>(integers) : floating,
          n);
  }
}

}  // namespace weft::cpu
