// Element-wise combination of two buffers on the host: the arithmetic of the copy-ring collectives.
// Called by HostDriver::combine on a stream worker. 16-bit floats go through f32 and are rounded
// once.
#include <cstdint>
#include <type_traits>

#include "fabric/error.h"
#include "fabric/half.h"
#include "fabric/host_queue.h"
#include "host/host_driver.h"

namespace fabric::host {
namespace {

constexpr int64_t kGrain = 128 * 1024;

// Arithmetic type of a storage type. bool is stored as one byte: sum and max are or, product is
// and.
template <typename T>
struct Compute {
  using Type = T;
};
template <>
struct Compute<F16> {
  using Type = float;
};
template <>
struct Compute<BF16> {
  using Type = float;
};

template <ReduceOp op, typename C>
inline C apply(C a, C b) {
  if constexpr (op == ReduceOp::kMax) {
    if constexpr (std::is_floating_point_v<C>) {
      return a > b || a != a ? a : b;  // NaN wins
    } else {
      return a > b ? a : b;
    }
  } else if constexpr (op == ReduceOp::kMin) {
    if constexpr (std::is_floating_point_v<C>) {
      return a < b || a != a ? a : b;
    } else {
      return a < b ? a : b;
    }
  } else if constexpr (std::is_integral_v<C> && std::is_signed_v<C>) {
    using U = std::make_unsigned_t<C>;  // integers wrap
    const U x = static_cast<U>(a), y = static_cast<U>(b);
    return static_cast<C>(op == ReduceOp::kProd ? x * y : x + y);
  } else {
    return static_cast<C>(op == ReduceOp::kProd ? a * b : a + b);
  }
}

template <ReduceOp op, typename T>
void combine_range(T* dst, const T* a, const T* b, int64_t begin, int64_t end, double scale) {
  using C = typename Compute<T>::Type;
  // dst may be a or b itself, which is no dependency between iterations.
  if (scale == 1.0) {
#pragma GCC ivdep
    for (int64_t i = begin; i < end; ++i) {
      dst[i] = static_cast<T>(apply<op, C>(static_cast<C>(a[i]), static_cast<C>(b[i])));
    }
  } else if constexpr (std::is_floating_point_v<C>) {
    const C factor = static_cast<C>(scale);
#pragma GCC ivdep
    for (int64_t i = begin; i < end; ++i) {
      dst[i] = static_cast<T>(apply<op, C>(static_cast<C>(a[i]), static_cast<C>(b[i])) * factor);
    }
  } else {
    for (int64_t i = begin; i < end; ++i) {
      dst[i] = static_cast<T>(static_cast<double>(apply<op, C>(a[i], b[i])) * scale);
    }
  }
}

template <ReduceOp op>
void combine_bool(uint8_t* dst, const uint8_t* a, const uint8_t* b, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const bool x = a[i] != 0, y = b[i] != 0;
    constexpr bool both = op == ReduceOp::kProd || op == ReduceOp::kMin;
    dst[i] = both ? (x && y) : (x || y);
  }
}

template <typename Range>
void over_ops(ReduceOp op, size_t count, Range&& range) {
  auto run = [&](auto constant) {
    parallel_for(static_cast<int64_t>(count), kGrain,
                 [&](int64_t begin, int64_t end) { range(constant, begin, end); });
  };
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kAvg:
      return run(std::integral_constant<ReduceOp, ReduceOp::kSum>{});
    case ReduceOp::kMax:
      return run(std::integral_constant<ReduceOp, ReduceOp::kMax>{});
    case ReduceOp::kMin:
      return run(std::integral_constant<ReduceOp, ReduceOp::kMin>{});
    case ReduceOp::kProd:
      return run(std::integral_constant<ReduceOp, ReduceOp::kProd>{});
  }
}

template <typename T>
void combine_typed(void* dst, const void* a, const void* b, size_t count, ReduceOp op,
                   double scale) {
  over_ops(op, count, [&](auto constant, int64_t begin, int64_t end) {
    combine_range<decltype(constant)::value>(static_cast<T*>(dst), static_cast<const T*>(a),
                                             static_cast<const T*>(b), begin, end, scale);
  });
}

}  // namespace

void combine_now(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
                 double scale) {
  switch (dtype) {
    case DType::kF32:
      return combine_typed<float>(dst, a, b, count, op, scale);
    case DType::kF64:
      return combine_typed<double>(dst, a, b, count, op, scale);
    case DType::kF16:
      return combine_typed<F16>(dst, a, b, count, op, scale);
    case DType::kBF16:
      return combine_typed<BF16>(dst, a, b, count, op, scale);
    case DType::kI64:
      return combine_typed<int64_t>(dst, a, b, count, op, scale);
    case DType::kI32:
      return combine_typed<int32_t>(dst, a, b, count, op, scale);
    case DType::kU8:
      return combine_typed<uint8_t>(dst, a, b, count, op, scale);
    case DType::kBool:
      return over_ops(op, count, [&](auto constant, int64_t begin, int64_t end) {
        combine_bool<decltype(constant)::value>(static_cast<uint8_t*>(dst),
                                                static_cast<const uint8_t*>(a),
                                                static_cast<const uint8_t*>(b), begin, end);
      });
  }
}

}  // namespace fabric::host
