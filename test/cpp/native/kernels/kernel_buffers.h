// What the kernel tests share: one host device, buffers of any dtype on it that are filled from and
// read back as doubles, and the tolerance of each dtype. A buffer reads back what the dtype kept,
// so a reference computed from values() sees the same rounded inputs as the kernel.
//
// No test varies WEFT_NUM_THREADS: chunk borders depend on shapes alone (parallel_for's contract),
// each chunk is computed by one thread in a fixed order and partial sums are combined in order, so
// results are the same for any thread count by construction.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu/register.h"
#include "fabric/fabric.h"
#include "fabric/half.h"

namespace weft::kernel_test {

inline Device& device() {
  static Device& d = fabric::open_device("host:0");
  return d;
}
inline Stream& stream() { return device().compute(); }

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInf = std::numeric_limits<double>::infinity();

class Buffer {
 public:
  Buffer() = default;
  Buffer(DType dtype, const std::vector<double>& values)
      : dtype_(dtype), count_(static_cast<int64_t>(values.size())) {
    block_ = device().allocator().allocate(count_ * dtype_bytes(dtype), stream());
    device().synchronize();
    for (int64_t i = 0; i < count_; ++i) set(i, values[i]);
  }
  Buffer(const Buffer&) = delete;
  Buffer(Buffer&& o) noexcept
      : block_(std::exchange(o.block_, nullptr)), dtype_(o.dtype_), count_(o.count_) {}
  ~Buffer() {
    if (block_) device().allocator().free(block_);
  }

  void* data() const { return block_->ptr; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(block_->ptr);
  }
  int64_t count() const { return count_; }
  /// Waits for the device.
  std::vector<double> values() const {
    device().synchronize();
    std::vector<double> v(count_);
    for (int64_t i = 0; i < count_; ++i) v[i] = get(i);
    return v;
  }
  void set(int64_t i, double x) {
    switch (dtype_) {
      case DType::kF32:
        as<float>()[i] = static_cast<float>(x);
        break;
      case DType::kF64:
        as<double>()[i] = x;
        break;
      case DType::kF16:
        as<fabric::F16>()[i] = static_cast<float>(x);
        break;
      case DType::kBF16:
        as<fabric::BF16>()[i] = static_cast<float>(x);
        break;
      case DType::kI64:
        as<int64_t>()[i] = static_cast<int64_t>(x);
        break;
      case DType::kI32:
        as<int32_t>()[i] = static_cast<int32_t>(x);
        break;
      default:
        as<uint8_t>()[i] = static_cast<uint8_t>(x);
        break;
    }
  }
  double get(int64_t i) const {
    switch (dtype_) {
      case DType::kF32:
        return as<float>()[i];
      case DType::kF64:
        return as<double>()[i];
      case DType::kF16:
        return as<fabric::F16>()[i];
      case DType::kBF16:
        return as<fabric::BF16>()[i];
      case DType::kI64:
        return static_cast<double>(as<int64_t>()[i]);
      case DType::kI32:
        return as<int32_t>()[i];
      default:
        return as<uint8_t>()[i];
    }
  }

 private:
  fabric::Block* block_ = nullptr;
  DType dtype_ = DType::kF32;
  int64_t count_ = 0;
};

inline std::vector<double> normal(int64_t count, uint64_t seed, double scale = 1) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> distribution(0, scale);
  std::vector<double> v(count);
  for (double& x : v) x = distribution(engine);
  return v;
}
inline Buffer random_buffer(DType dtype, int64_t count, uint64_t seed, double scale = 1) {
  return Buffer(dtype, normal(count, seed, scale));
}
/// For outputs: what a kernel forgets to write stays NaN (or -77 in integers).
inline Buffer unwritten(DType dtype, int64_t count) {
  return Buffer(dtype, std::vector<double>(count, is_floating(dtype) ? kNan : -77));
}

inline double tolerance(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 2e-5;
    case DType::kF64:
      return 1e-11;
    case DType::kF16:
      return 2e-3;
    case DType::kBF16:
      return 1.6e-2;
    default:
      return 0;
  }
}

/// |actual - expected| <= tolerance * (scale + |expected|), element by element; NaN equals NaN.
inline void expect_close(const std::vector<double>& actual, const std::vector<double>& expected,
                         double tolerance, const char* what, double scale = 1) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  int reported = 0;
  for (size_t i = 0; i < actual.size() && reported < 3; ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    if (expected[i] == actual[i]) continue;
    const double error = std::fabs(actual[i] - expected[i]);
    if (error <= tolerance * (scale + std::fabs(expected[i]))) continue;
    ADD_FAILURE() << what << "[" << i << "] is " << actual[i] << ", expected " << expected[i];
    ++reported;
  }
}

inline std::string dtype_case(const ::testing::TestParamInfo<DType>& info) {
  return dtype_name(info.param);
}
inline auto floating() {
  return ::testing::Values(DType::kF32, DType::kF64, DType::kF16, DType::kBF16);
}

}  // namespace weft::kernel_test
