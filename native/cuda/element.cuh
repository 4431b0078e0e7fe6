// Element types on the device, their conversions and packs of them. A lane is the type that values
// are computed in: float for f32, f16 and bf16, double for f64, int64_t for integers and bool.
// Conversions are those of the host driver (native/cpu/elementwise/convert_block.cc). Included by all kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/tensor.h"

namespace weft::cuda {

using F16 = __half;
using BF16 = __nv_bfloat16;
struct Bool {
  uint8_t v;
};

template <typename T>
struct LaneOf {
  using type = std::conditional_t<std::is_integral_v<T> || std::is_same_v<T, Bool>, int64_t, float>;
};
template <>
struct LaneOf<double> {
  using type = double;
};
template <typename T>
using Lane = typename LaneOf<T>::type;

template <typename T>
inline constexpr T kLeast = std::numeric_limits<T>::min();  // functions of std are for the host
template <typename T>
inline constexpr T kMost = std::numeric_limits<T>::max();

/// Floating to integer: truncates and saturates, NaN gives 0.
template <typename To, typename From>
__device__ __forceinline__ To saturate(From v) {
  constexpr From low = static_cast<From>(kLeast<To>);
  constexpr From high = static_cast<From>(kMost<To> / 2 + 1) * 2;
  if (v >= high) return kMost<To>;
  if (v > low) return static_cast<To>(v);
  return v <= low ? kLeast<To> : To(0);
}

template <typename To, typename From>
__device__ __forceinline__ To convert(From v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (std::is_same_v<From, Bool>) {
    return convert<To>(static_cast<int32_t>(v.v != 0));
  } else if constexpr (std::is_same_v<From, bool>) {
    return convert<To>(static_cast<int32_t>(v));
  } else if constexpr (std::is_same_v<From, F16>) {
    return convert<To>(__half2float(v));
  } else if constexpr (std::is_same_v<From, BF16>) {
    return convert<To>(__bfloat162float(v));
  } else if constexpr (std::is_same_v<To, Bool>) {
    return Bool{static_cast<uint8_t>(v != 0)};
  } else if constexpr (std::is_same_v<To, F16>) {
    return __float2half_rn(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, BF16>) {
    return __float2bfloat16_rn(static_cast<float>(v));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return saturate<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

/// `n` elements that move as one; 16 bytes at most in one access.
template <typename T, int n>
struct alignas(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Pack {
  T v[n];
};
template <int n, typename T>
__device__ __forceinline__ Pack<T, n> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, n>*>(p);
}
template <int n, typename T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, n>& pack) {
  *reinterpret_cast<Pack<T, n>*>(p) = pack;
}
/// Elements of T in 16 bytes.
template <typename T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

/// A value of any dtype known only at run time.
template <typename L>
__device__ __forceinline__ L load_any(const char* p, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return convert<L>(*reinterpret_cast<const float*>(p));
    case DType::kF64:
      return convert<L>(*reinterpret_cast<const double*>(p));
    case DType::kF16:
      return convert<L>(*reinterpret_cast<const F16*>(p));
    case DType::kBF16:
      return convert<L>(*reinterpret_cast<const BF16*>(p));
    case DType::kI64:
      return convert<L>(*reinterpret_cast<const int64_t*>(p));
    case DType::kI32:
      return convert<L>(*reinterpret_cast<const int32_t*>(p));
    case DType::kU8:
      return convert<L>(*reinterpret_cast<const uint8_t*>(p));
    case DType::kBool:
      return convert<L>(*reinterpret_cast<const Bool*>(p));
  }
  return L(0);
}
template <typename L>
__device__ __forceinline__ void store_any(char* p, DType dtype, L v) {
  switch (dtype) {
    case DType::kF32:
      *reinterpret_cast<float*>(p) = convert<float>(v);
      break;
    case DType::kF64:
      *reinterpret_cast<double*>(p) = convert<double>(v);
      break;
    case DType::kF16:
      *reinterpret_cast<F16*>(p) = convert<F16>(v);
      break;
    case DType::kBF16:
      *reinterpret_cast<BF16*>(p) = convert<BF16>(v);
      break;
    case DType::kI64:
      *reinterpret_cast<int64_t*>(p) = convert<int64_t>(v);
      break;
    case DType::kI32:
      *reinterpret_cast<int32_t*>(p) = convert<int32_t>(v);
      break;
    case DType::kU8:
      *reinterpret_cast<uint8_t*>(p) = convert<uint8_t>(v);
      break;
    case DType::kBool:
      *reinterpret_cast<Bool*>(p) = convert<Bool>(v);
      break;
  }
}

// Dispatch by dtype on the host: f(Type<T>{}).
template <typename T>
struct Type {
  using type = T;
};
template <typename F>
void with_floating(DType dtype, const char* op, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f(Type<float>{});
    case DType::kF16:
      return f(Type<F16>{});
    case DType::kBF16:
      return f(Type<BF16>{});
    case DType::kF64:
      return f(Type<double>{});
    default:
      fail(ErrorCode::kDtype, "%s: dtype %s is not a floating dtype", op, dtype_name(dtype));
  }
}

}  // namespace weft::cuda
