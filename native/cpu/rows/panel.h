// Panels: rows of a tensor as the type that kernels compute in (f32 for f32, f16 and bf16; f64 for
// f64). Used by the kernels that work row by row (gemm, softmax, norms, cross entropy, attention,
// optimizers): each is instantiated for float and double only, and halves pass through a scratch
// row, which keeps both the object code and the build short.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "core/tensor.h"

namespace weft::cpu {

/// n values of f16 or bf16 to f32, and back with rounding to nearest even.
void widen(DType half, const void* from, int64_t n, float* to);
void narrow(DType half, const float* from, int64_t n, void* to);

/// Calls f(float{}) for f32, f16 and bf16, f(double{}) for f64; throws DtypeError naming `op`
/// otherwise.
template <typename F>
void with_compute_type(DType dtype, const char* op, F&& f) {
  if (dtype == DType::kF64) {
    f(double{});
  } else if (is_floating(dtype)) {
    f(float{});
  } else {
    fail(ErrorCode::kDtype, "%s: dtype %s is not a floating dtype", op, dtype_name(dtype));
  }
}

/// Address of element `offset`. In integers, since an empty tensor's base is null.
inline char* element(const void* base, DType dtype, int64_t offset) {
  const int64_t bytes = offset * static_cast<int64_t>(dtype_bytes(dtype));
  return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(base) + static_cast<uintptr_t>(bytes));
}

/// n values from element `offset` on: in place, or widened into `scratch` (n values) for halves.
template <typename T>
const T* read_panel(DType dtype, const void* base, int64_t offset, int64_t n, T* scratch) {
  const char* from = element(base, dtype, offset);
  if constexpr (std::is_same_v<T, float>) {
    if (is_half(dtype)) {
      widen(dtype, from, n, scratch);
      return scratch;
    }
  }
  return reinterpret_cast<const T*>(from);
}

/// Where to compute n values that belong at element `offset`: in place, or `scratch` for halves.
/// store_panel() then brings them there.
template <typename T>
T* panel_target(DType dtype, void* base, int64_t offset, T* scratch) {
  return is_half(dtype) ? scratch : reinterpret_cast<T*>(element(base, dtype, offset));
}
template <typename T>
void store_panel(DType dtype, void* base, int64_t offset, int64_t n, const T* from) {
  char* to = element(base, dtype, offset);
  if constexpr (std::is_same_v<T, float>) {
    if (is_half(dtype)) {
      narrow(dtype, from, n, to);
      return;
    }
  }
  if (to != reinterpret_cast<const char*>(from)) std::memmove(to, from, n * sizeof(T));
}

/// A (rows, width) matrix of row stride `stride`, widened into dense scratch rows for halves.
template <typename T>
struct Matrix {
  const T* data;
  int64_t ld;
};
template <typename T>
Matrix<T> read_matrix(DType dtype, const void* base, int64_t offset, int64_t rows, int64_t width,
                      int64_t stride, T* scratch) {
  if (!is_half(dtype)) return {reinterpret_cast<const T*>(element(base, dtype, offset)), stride};
  for (int64_t r = 0; r < rows; ++r)
    read_panel(dtype, base, offset + r * stride, width, scratch + r * width);
  return {scratch, width};
}

/// Uninitialised memory of the calling thread that grows and stays, so that a kernel's inner
/// buffers cost no allocation and no page faults once warm. Valid until the thread asks for the
/// same slot of the same type again: take it inside a parallel_for body, never across one.
template <typename T>
T* thread_scratch(int slot, int64_t n) {
  struct Buffer {
    std::unique_ptr<T[]> data;
    int64_t size = 0;
  };
  static thread_local Buffer buffers[8];
  Buffer& b = buffers[slot];
  if (b.size < n) {
    b.data.reset();
    b.data.reset(new T[static_cast<size_t>(n)]);
    b.size = n;
  }
  return b.data.get();
}

/// Whole tensors that a kernel reads in every task (bias, norm weights): widened once before its
/// parallel_for. Null stays null.
template <typename T>
class WholePanel {
 public:
  WholePanel(DType dtype, const void* base, int64_t n) {
    if (base == nullptr) return;
    if (is_half(dtype)) scratch_.reset(new T[static_cast<size_t>(n)]);
    data_ = read_panel<T>(dtype, base, 0, n, scratch_.get());
  }
  const T* get() const { return data_; }

 private:
  std::unique_ptr<T[]> scratch_;
  const T* data_ = nullptr;
};

/// Items of `cost` elements each that one parallel_for chunk should hold: about 16 Ki elements,
/// enough to hide the hand-over to a thread. Depends on shape only, as chunk borders must.
inline int64_t rows_per_chunk(int64_t cost) {
  return cost >= 16384 ? 1 : 16384 / (cost < 1 ? 1 : cost);
}

}  // namespace weft::cpu
