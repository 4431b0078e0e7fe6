// The conversion loops behind convert_block.h: unit strides vectorise, a stride of 0 fills, any
// other gathers or scatters.
#include "cpu/elementwise/convert_block.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#if defined(__F16C__) && defined(__AVX__)
#include <immintrin.h>
#endif

#include "fabric/half.h"

namespace weft::cpu {
namespace {

using fabric::BF16;
using fabric::DType;
using fabric::F16;

struct Bool {
  uint8_t v;
};

template <typename To, typename From>
To saturate(From v) {
  constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
  constexpr From high = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
  if (v >= high) return std::numeric_limits<To>::max();
  if (v > low) return static_cast<To>(v);
  return v <= low ? std::numeric_limits<To>::min() : To(0);
}

template <typename To, typename From>
To convert(From v) {
  if constexpr (std::is_same_v<From, Bool>) {
    return static_cast<To>(v.v != 0);
  } else if constexpr (std::is_same_v<To, Bool>) {
    return Bool{static_cast<uint8_t>(v != 0)};
  } else if constexpr (std::is_same_v<To, F16> || std::is_same_v<To, BF16>) {
    return To(static_cast<float>(v));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return saturate<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

/// Dense to dense.
template <typename To, typename From>
void convert_dense(To* __restrict dst, const From* __restrict src, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__) && defined(__AVX__)
  // The compiler does not vectorise these two conversions by itself.
  if constexpr (std::is_same_v<To, float> && std::is_same_v<From, F16>) {
    for (; i + 8 <= n; i += 8) {
      __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i));
      _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
    }
  }
  if constexpr (std::is_same_v<To, F16> && std::is_same_v<From, float>) {
    for (; i + 8 <= n; i += 8) {
      __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i), h);
    }
  }
#endif
  for (; i < n; ++i) dst[i] = convert<To>(src[i]);
}

template <typename L, typename T>
void load(void* dst, const char* src, int64_t stride, int64_t n) {
  auto* out = static_cast<L*>(dst);
  if (stride == static_cast<int64_t>(sizeof(T))) {
    if constexpr (std::is_same_v<L, T>) {
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
    } else {
      convert_dense(out, reinterpret_cast<const T*>(src), n);
    }
  } else if (stride == 0) {
    std::fill_n(out, n, convert<L>(*reinterpret_cast<const T*>(src)));
  } else {
    for (int64_t i = 0; i < n; ++i, src += stride)
      out[i] = convert<L>(*reinterpret_cast<const T*>(src));
  }
}

template <typename L, typename T>
void store(char* dst, int64_t stride, const void* src, int64_t n) {
  auto* in = static_cast<const L*>(src);
  if (stride == static_cast<int64_t>(sizeof(T))) {
    if constexpr (std::is_same_v<L, T>) {
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
    } else {
      convert_dense(reinterpret_cast<T*>(dst), in, n);
    }
  } else {
    for (int64_t i = 0; i < n; ++i, dst += stride) *reinterpret_cast<T*>(dst) = convert<T>(in[i]);
  }
}

template <typename L, typename T>
LoadFn load_entry() {
  if constexpr (std::is_same_v<L, int64_t> && !(std::is_integral_v<T> || std::is_same_v<T, Bool>)) {
    return nullptr;
  } else if constexpr (std::is_same_v<L, float> && std::is_same_v<T, double>) {
    return nullptr;
  } else {
    return load<L, T>;
  }
}

// Columns in the order of fabric/dtypes.def.
template <typename L>
LoadFn load_row(DType t) {
  static const LoadFn row[] = {load_entry<L, float>(),   load_entry<L, double>(),
                               load_entry<L, F16>(),     load_entry<L, BF16>(),
                               load_entry<L, int64_t>(), load_entry<L, int32_t>(),
                               load_entry<L, uint8_t>(), load_entry<L, Bool>()};
  return row[static_cast<int>(t)];
}
template <typename L>
StoreFn store_row(DType t) {
  static constexpr StoreFn row[] = {store<L, float>,   store<L, double>,  store<L, F16>,
                                    store<L, BF16>,    store<L, int64_t>, store<L, int32_t>,
                                    store<L, uint8_t>, store<L, Bool>};
  return row[static_cast<int>(t)];
}

}  // namespace

LoadFn load_fn(LaneType lane, DType dtype) {
  switch (lane) {
    case LaneType::kF32:
      return load_row<float>(dtype);
    case LaneType::kF64:
      return load_row<double>(dtype);
    case LaneType::kI64:
      return load_row<int64_t>(dtype);
  }
  return nullptr;
}

StoreFn store_fn(LaneType lane, DType dtype) {
  switch (lane) {
    case LaneType::kF32:
      return store_row<float>(dtype);
    case LaneType::kF64:
      return store_row<double>(dtype);
    case LaneType::kI64:
      return store_row<int64_t>(dtype);
  }
  return nullptr;
}

}  // namespace weft::cpu
