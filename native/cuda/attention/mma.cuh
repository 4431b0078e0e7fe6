// Tensor-core tiles of attention: one warp's mma.sync with its fragments, from shared memory and
// from accumulators. Used by attention_forward.cuh and attention_backward.cuh.
//
// A warp multiplies 16 rows. Accumulators of an 8-column tile, in lane (g = lane / 4, t = lane %
// 4): c[0], c[1] at row g, columns 2t and 2t+1; c[2], c[3] at row g+8. A tile of shared memory is
// (rows, kWidth) with kPitch elements a row, which keeps eight rows in eight different bank groups.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace weft::cuda::attention {

__device__ inline int lane() { return threadIdx.x & 31; }
__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

template <typename T, int kWidth>
inline constexpr int kPitch = kWidth + 16 / sizeof(T);

__device__ inline uint32_t pack(float x, float y, __half) {
  __half2 v = __floats2half2_rn(x, y);
  return *reinterpret_cast<uint32_t*>(&v);
}
__device__ inline uint32_t pack(float x, float y, __nv_bfloat16) {
  __nv_bfloat162 v = __floats2bfloat162_rn(x, y);
  return *reinterpret_cast<uint32_t*>(&v);
}
__device__ inline uint32_t to_tf32(float x) {
  uint32_t v;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(v) : "f"(x));
  return v;
}

// 16-bit elements: m16n8k16.
template <typename T>
struct Mma {
  static constexpr int kDepth = 16;

  static __device__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (std::is_same_v<T, __half>) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
          "{%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
          "{%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
  }

  /// Left operand: rows row0..+15, columns k0..+15 of a tile.
  static __device__ void load_left(uint32_t (&a)[4], const T* tile, int pitch, int row0, int k0) {
    const int l = lane();
    const uint32_t at = shared_address(tile + (row0 + l % 16) * pitch + k0 + l / 16 * 8);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at));
  }
  /// Right operand of 16 columns, two tiles of 8: column n is row n0+n of the tile (X · tileᵀ).
  static __device__ void load_right_rows(uint32_t (&b)[2][2], const T* tile, int pitch, int n0,
                                         int k0) {
    const int l = lane(), matrix = l / 8;
    const uint32_t at =
        shared_address(tile + (n0 + matrix / 2 * 8 + l % 8) * pitch + k0 + matrix % 2 * 8);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0][0]), "=r"(b[0][1]), "=r"(b[1][0]), "=r"(b[1][1])
                 : "r"(at));
  }
  /// Right operand of 16 columns: column n is column n0+n of the tile (X · tile).
  static __device__ void load_right_columns(uint32_t (&b)[2][2], const T* tile, int pitch, int k0,
                                            int n0) {
    const int l = lane(), matrix = l / 8;
    const uint32_t at =
        shared_address(tile + (k0 + matrix % 2 * 8 + l % 8) * pitch + n0 + matrix / 2 * 8);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0][0]), "=r"(b[0][1]), "=r"(b[1][0]), "=r"(b[1][1])
                 : "r"(at));
  }
  /// Left operand from accumulators: columns step*16..+15 of what `c` holds.
  template <int kTiles>
  static __device__ void from_sums(uint32_t (&a)[4], const float (&c)[kTiles][4], int step) {
    a[0] = pack(c[2 * step][0], c[2 * step][1], T{});
    a[1] = pack(c[2 * step][2], c[2 * step][3], T{});
    a[2] = pack(c[2 * step + 1][0], c[2 * step + 1][1], T{});
    a[3] = pack(c[2 * step + 1][2], c[2 * step + 1][3], T{});
  }
};

// f32 as TF32: m16n8k8, without ldmatrix. A lane's slots of k are t and t+4; from_sums puts columns
// 2t and 2t+1 there, where the accumulators have them, and load_right_columns reads the matching
// rows: a sum over k may be taken in any order.
template <>
struct Mma<float> {
  static constexpr int kDepth = 8;

  static __device__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  static __device__ void load_left(uint32_t (&a)[4], const float* tile, int pitch, int row0,
                                   int k0) {
    const float* at = tile + (row0 + lane() / 4) * pitch + k0 + lane() % 4;
    a[0] = to_tf32(at[0]);
    a[1] = to_tf32(at[8 * pitch]);
    a[2] = to_tf32(at[4]);
    a[3] = to_tf32(at[8 * pitch + 4]);
  }
  static __device__ void load_right_rows(uint32_t (&b)[2][2], const float* tile, int pitch, int n0,
                                         int k0) {
    const float* at = tile + (n0 + lane() / 4) * pitch + k0 + lane() % 4;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      b[j][0] = to_tf32(at[8 * j * pitch]);
      b[j][1] = to_tf32(at[8 * j * pitch + 4]);
    }
  }
  static __device__ void load_right_columns(uint32_t (&b)[2][2], const float* tile, int pitch,
                                            int k0, int n0) {
    const float* at = tile + (k0 + 2 * (lane() % 4)) * pitch + n0 + lane() / 4;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      b[j][0] = to_tf32(at[8 * j]);
      b[j][1] = to_tf32(at[pitch + 8 * j]);
    }
  }
  template <int kTiles>
  static __device__ void from_sums(uint32_t (&a)[4], const float (&c)[kTiles][4], int step) {
    a[0] = to_tf32(c[step][0]);
    a[1] = to_tf32(c[step][2]);
    a[2] = to_tf32(c[step][1]);
    a[3] = to_tf32(c[step][3]);
  }
};

/// sums (16, kColumns) += rows row0.. of `left` · `right`ᵀ, over kWidth.
template <typename T, int kWidth, int kColumns>
__device__ void multiply_rows(float (&sums)[kColumns / 8][4], const T* left, int row0,
                              const T* right) {
  constexpr int pitch = kPitch<T, kWidth>;
#pragma unroll
  for (int k = 0; k < kWidth; k += Mma<T>::kDepth) {
    uint32_t a[4];
    Mma<T>::load_left(a, left, pitch, row0, k);
#pragma unroll
    for (int n = 0; n < kColumns; n += 16) {
      uint32_t b[2][2];
      Mma<T>::load_right_rows(b, right, pitch, n, k);
      Mma<T>::multiply(sums[n / 8], a, b[0]);
      Mma<T>::multiply(sums[n / 8 + 1], a, b[1]);
    }
  }
}

/// sums (16, kWidth) += weights (16, kDepth) · `right` (kDepth, kWidth).
template <typename T, int kWidth, int kDepth>
__device__ void multiply_columns(float (&sums)[kWidth / 8][4],
                                 const float (&weights)[kDepth / 8][4], const T* right) {
  constexpr int pitch = kPitch<T, kWidth>;
#pragma unroll
  for (int k = 0; k < kDepth; k += Mma<T>::kDepth) {
    uint32_t a[4];
    Mma<T>::from_sums(a, weights, k / Mma<T>::kDepth);
#pragma unroll
    for (int n = 0; n < kWidth; n += 16) {
      uint32_t b[2][2];
      Mma<T>::load_right_columns(b, right, pitch, k, n);
      Mma<T>::multiply(sums[n / 8], a, b[0]);
      Mma<T>::multiply(sums[n / 8 + 1], a, b[1]);
    }
  }
}

}  // namespace weft::cuda::attention
