// What the device checks share: typed buffers on the GPU with values that are the same in every
// run, and the line that each check prints. Used by gemm_check.cu and attention_check.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "fabric/cuda_launch.h"
#include "fabric/fabric.h"

namespace weft::check {

using fabric::DType;

inline double round_to(DType dtype, double v) {
  switch (dtype) {
    case DType::kF64: return v;
    case DType::kF32: return static_cast<float>(v);
    case DType::kF16: return __half2float(__float2half(static_cast<float>(v)));
    case DType::kBF16: return __bfloat162float(__float2bfloat16(static_cast<float>(v)));
    default: return std::round(v * 8);  // integers: -8..8
  }
}

/// Device memory of `count` elements; its contents travel as doubles.
class Buffer {
 public:
  Buffer(DType dtype, int64_t count) : dtype_(dtype), count_(count) {
    const size_t bytes = static_cast<size_t>(count) * fabric::dtype_bytes(dtype);
    fabric::cuda::check(cudaMalloc(&at_, bytes + 64), "cudaMalloc");
  }
  ~Buffer() { cudaFree(at_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* at(int64_t element = 0) const {
    return static_cast<char*>(at_) + element * static_cast<int64_t>(fabric::dtype_bytes(dtype_));
  }
  int64_t count() const { return count_; }

  /// Uniform in -1..1, rounded to the dtype.
  std::vector<double> randomize(uint64_t seed) {
    std::vector<double> values(static_cast<size_t>(count_));
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (double& v : values) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const auto bits = static_cast<double>(static_cast<int64_t>(state >> 11));
      v = round_to(dtype_, bits / (1ll << 52) - 1);
    }
    write(values);
    return values;
  }
  /// Values for timing, f32 or bf16: random ones, since zeros cost a GPU less power.
  void scatter() {
    std::vector<uint32_t> noise(1 << 20);
    uint32_t state = 12345;
    for (uint32_t& word : noise) {
      state = state * 1664525u + 1013904223u;
      word = dtype_ == DType::kF32 ? (state & 0x807fffffu) | 0x3f000000u
                                   : (state & 0x807f807fu) | 0x3f003f00u;  // 0.5..1, both signs
    }
    const size_t bytes = static_cast<size_t>(count_) * fabric::dtype_bytes(dtype_);
    for (size_t at = 0; at < bytes; at += noise.size() * 4) {
      const size_t part = std::min(bytes - at, noise.size() * 4);
      fabric::cuda::check(cudaMemcpy(static_cast<char*>(at_) + at, noise.data(), part,
                                     cudaMemcpyDefault),
                          "cudaMemcpy");
    }
  }
  void write(const std::vector<double>& values) {
    switch (dtype_) {
      case DType::kF64: return put<double>(values);
      case DType::kF32: return put<float>(values);
      case DType::kF16: return put<__half>(values);
      case DType::kBF16: return put<__nv_bfloat16>(values);
      case DType::kI32: return put<int32_t>(values);
      default: return put<int64_t>(values);
    }
  }
  std::vector<double> read() const {
    switch (dtype_) {
      case DType::kF64: return get<double>();
      case DType::kF32: return get<float>();
      case DType::kF16: return get<__half>();
      case DType::kBF16: return get<__nv_bfloat16>();
      case DType::kI32: return get<int32_t>();
      default: return get<int64_t>();
    }
  }

 private:
  template <typename T>
  static T narrow(double v) {
    if constexpr (sizeof(T) == 2) {
      return static_cast<T>(static_cast<float>(v));
    } else {
      return static_cast<T>(v);
    }
  }
  template <typename T>
  void put(const std::vector<double>& values) {
    std::vector<T> raw(values.size());
    for (size_t i = 0; i < raw.size(); ++i) raw[i] = narrow<T>(values[i]);
    fabric::cuda::check(cudaMemcpy(at_, raw.data(), raw.size() * sizeof(T), cudaMemcpyDefault),
                        "cudaMemcpy");
  }
  template <typename T>
  std::vector<double> get() const {
    std::vector<T> raw(static_cast<size_t>(count_));
    fabric::cuda::check(cudaMemcpy(raw.data(), at_, raw.size() * sizeof(T), cudaMemcpyDefault),
                        "cudaMemcpy");
    std::vector<double> values(raw.size());
    for (size_t i = 0; i < raw.size(); ++i) {
      if constexpr (sizeof(T) == 2) {
        values[i] = static_cast<double>(static_cast<float>(raw[i]));
      } else {
        values[i] = static_cast<double>(raw[i]);
      }
    }
    return values;
  }

  DType dtype_;
  int64_t count_;
  void* at_ = nullptr;
};

/// Largest error over the reference's root mean square; infinite for NaN where none belongs.
inline double error_of(const std::vector<double>& got, const std::vector<double>& want) {
  double most = 0, squares = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want[i])) squares += want[i] * want[i];
    if (got[i] == want[i]) continue;  // infinities too
    const double e = std::fabs(got[i] - want[i]);
    if (!(e <= most)) most = std::isnan(e) ? INFINITY : e;
  }
  const double rms = std::sqrt(squares / static_cast<double>(want.empty() ? 1 : want.size()));
  return most / (rms > 1e-30 ? rms : 1);
}

/// Counts and prints. Only failures and group summaries are lines.
class Report {
 public:
  void note(const std::string& what, double error, double limit) {
    ++cases_;
    if (error > worst_) worst_ = error, worst_case_ = what;
    if (error <= limit) return;
    ++failures_;
    std::printf("FAIL %s: error %.3g, limit %.3g\n", what.c_str(), error, limit);
  }
  void group(const char* name) {
    std::printf("%-28s %5d cases, worst error %.3g (%s)\n", name, cases_, worst_,
                worst_case_.c_str());
    std::fflush(stdout);
    cases_ = 0, worst_ = 0, worst_case_.clear();
  }
  int failures() const { return failures_; }

 private:
  int cases_ = 0, failures_ = 0;
  double worst_ = 0;
  std::string worst_case_;
};

void check_gemm(fabric::Stream& stream, Report& report);
void time_gemm(fabric::Stream& stream);
void check_attention(fabric::Stream& stream, Report& report);
void time_attention(fabric::Stream& stream);

}  // namespace weft::check
