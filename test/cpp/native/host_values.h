// Tensors on host:0 from and to plain doubles, in logical (row-major) order whatever the layout:
// what the kernel tests compare naive references with.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "core/tensor.h"
#include "fabric/fabric.h"
#include "fabric/half.h"

namespace weft::test {

inline constexpr DType kAllDTypes[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16,
                                       DType::kI64, DType::kI32, DType::kU8,  DType::kBool};

inline Device& host() {
  static Device& device = fabric::open_device("host:0");
  return device;
}
inline Stream& stream() { return host().compute(); }

inline double read_element(const char* p, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return *reinterpret_cast<const float*>(p);
    case DType::kF64:
      return *reinterpret_cast<const double*>(p);
    case DType::kF16:
      return static_cast<float>(*reinterpret_cast<const fabric::F16*>(p));
    case DType::kBF16:
      return static_cast<float>(*reinterpret_cast<const fabric::BF16*>(p));
    case DType::kI64:
      return static_cast<double>(*reinterpret_cast<const int64_t*>(p));
    case DType::kI32:
      return *reinterpret_cast<const int32_t*>(p);
    default:
      return *reinterpret_cast<const uint8_t*>(p);
  }
}
inline void write_element(char* p, DType dtype, double v) {
  switch (dtype) {
    case DType::kF32:
      *reinterpret_cast<float*>(p) = static_cast<float>(v);
      break;
    case DType::kF64:
      *reinterpret_cast<double*>(p) = v;
      break;
    case DType::kF16:
      *reinterpret_cast<fabric::F16*>(p) = static_cast<float>(v);
      break;
    case DType::kBF16:
      *reinterpret_cast<fabric::BF16*>(p) = static_cast<float>(v);
      break;
    case DType::kI64:
      *reinterpret_cast<int64_t*>(p) = static_cast<int64_t>(v);
      break;
    case DType::kI32:
      *reinterpret_cast<int32_t*>(p) = static_cast<int32_t>(v);
      break;
    case DType::kU8:
      *reinterpret_cast<uint8_t*>(p) = static_cast<uint8_t>(v);
      break;
    case DType::kBool:
      *reinterpret_cast<uint8_t*>(p) = v != 0;
      break;
  }
}

/// Calls visit(address) for every element in logical order.
inline void for_each_element(const Tensor& t, const std::function<void(char*)>& visit) {
  const auto size = static_cast<int64_t>(dtype_bytes(t.dtype()));
  for (int64_t i = 0; i < t.numel(); ++i) {
    int64_t rest = i, offset = 0;
    for (int d = t.rank() - 1; d >= 0; --d) {
      offset += rest % t.shape()[d] * t.strides()[d];
      rest /= t.shape()[d];
    }
    visit(t.data() + offset * size);
  }
}

/// Waits for the stream, then reads.
inline std::vector<double> values(const Tensor& t) {
  stream().synchronize();
  std::vector<double> out;
  for_each_element(t, [&](char* p) { out.push_back(read_element(p, t.dtype())); });
  return out;
}

/// Waits for the stream (the memory may have had another owner), then writes.
inline void assign(const Tensor& t, const std::function<double(int64_t)>& value) {
  stream().synchronize();
  int64_t i = 0;
  for_each_element(t, [&](char* p) { write_element(p, t.dtype(), value(i++)); });
}
inline Tensor make(const Dims& shape, DType dtype, const std::function<double(int64_t)>& value) {
  Tensor t = empty(shape, dtype, host());
  assign(t, value);
  return t;
}

/// A scattered but fixed sequence in [-range, range]; whole numbers for integers, >= 0 for
/// unsigned.
inline double scattered(int64_t i, DType dtype, double range) {
  double u = static_cast<double>((i * 2654435761u + 12345u) % 100003u) / 100003.0 * 2 - 1;
  double v = u * range;
  if (dtype == DType::kBool) return v > 0;
  if (dtype == DType::kU8) return std::floor(std::fabs(v));
  return is_floating(dtype) ? v : std::floor(v);
}

/// `t` with its last two dimensions exchanged.
inline Tensor transposed(const Tensor& t) {
  Dims shape = t.shape(), strides = t.strides();
  std::swap(shape[shape.n - 1], shape[shape.n - 2]);
  std::swap(strides[strides.n - 1], strides[strides.n - 2]);
  return make_view(t, shape, strides, t->offset);
}

/// Rounding of one operation in `dtype`, relative.
inline double tolerance(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 1e-12;
    case DType::kF16:
      return 1e-3;
    case DType::kBF16:
      return 8e-3;
    default:
      return 1e-6;
  }
}

/// `v` as `dtype` holds it; past a half's range that is infinity.
inline double rounded(double v, DType dtype) {
  if (!is_half(dtype)) return v;
  char bytes[8];
  write_element(bytes, dtype, v);
  return read_element(bytes, dtype);
}

inline bool close(double a, double b, double relative) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (a == b) return true;
  return std::fabs(a - b) <= relative * std::fmax(1.0, std::fabs(b));
}

}  // namespace weft::test
