// Matrix product in plain loops, for builds without BLAS, integer dtypes and layouts that BLAS
// refuses. Called through blas.h. The blocking is that of Goto & van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication" (2008): a packed block of B that stays in cache, under a
// register tile of C.
#include <algorithm>
#include <cstring>

#include "cpu/gemm/blas.h"
#include "cpu/rows/panel.h"

namespace weft::cpu {
namespace {

constexpr int kTileRows = 6;     // 6 x 2 registers of sums, 2 of B and 1 of A: 15 of AVX2's 16
constexpr int64_t kDepth = 256;  // packed block of B: kDepth x kColumns
constexpr int64_t kColumns = 512;

template <typename T>
struct Register {
  typedef T type __attribute__((vector_size(32)));
  static constexpr int kWidth = 32 / sizeof(T);
};

// B[p0..p0+depth, j0..j0+columns] as panels of `tile` columns, each (depth, tile), zero-padded.
template <typename T>
void pack(const T* b, int64_t row_step, int64_t column_step, int64_t depth, int64_t columns,
          int64_t tile, T* to) {
  for (int64_t j = 0; j < columns; j += tile, to += depth * tile) {
    int64_t wide = std::min(tile, columns - j);
    for (int64_t p = 0; p < depth; ++p) {
      const T* from = b + p * row_step + j * column_step;
      T* row = to + p * tile;
      if (column_step == 1) {
        std::memcpy(row, from, wide * sizeof(T));
      } else {
        for (int64_t x = 0; x < wide; ++x) row[x] = from[x * column_step];
      }
      for (int64_t x = wide; x < tile; ++x) row[x] = 0;
    }
  }
}

// sums (kTileRows, 2 registers) = A rows · packed panel.
template <typename T>
void tile_product(const T* const* rows, int64_t step, int64_t depth, const T* panel, T* sums) {
  using V = typename Register<T>::type;
  constexpr int kWidth = Register<T>::kWidth;
  V acc[kTileRows][2] = {};
  for (int64_t p = 0; p < depth; ++p) {
    V b0, b1;
    std::memcpy(&b0, panel + p * 2 * kWidth, sizeof(V));
    std::memcpy(&b1, panel + p * 2 * kWidth + kWidth, sizeof(V));
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      T x = rows[r][p * step];
      acc[r][0] += x * b0;
      acc[r][1] += x * b1;
    }
  }
  std::memcpy(sums, acc, sizeof(acc));
}

template <typename T>
void scale(int64_t m, int64_t n, T beta, T* c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == T(0) ? T(0) : T(beta * c[i * ldc + j]);
}

}  // namespace

template <typename T>
void plain_multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, T alpha,
                    const T* a, int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
  if (k == 0) return scale(m, n, beta, c, ldc);
  constexpr int64_t kTile = 2 * Register<T>::kWidth;
  const int64_t a_row = a_transposed ? 1 : lda, a_step = a_transposed ? lda : 1;
  const int64_t b_row = b_transposed ? 1 : ldb, b_column = b_transposed ? ldb : 1;
  const int64_t widest = (std::min(n, kColumns) + kTile - 1) / kTile * kTile;
  // Slot 7: the callers' own buffers use the lower ones.
  T* packed = thread_scratch<T>(7, std::min(k, kDepth) * widest);
  T sums[kTileRows * kTile];
  for (int64_t p0 = 0; p0 < k; p0 += kDepth) {
    const int64_t depth = std::min(kDepth, k - p0);
    for (int64_t j0 = 0; j0 < n; j0 += kColumns) {
      const int64_t columns = std::min(kColumns, n - j0);
      pack(b + p0 * b_row + j0 * b_column, b_row, b_column, depth, columns, kTile, packed);
      for (int64_t i = 0; i < m; i += kTileRows) {
        const int valid = static_cast<int>(std::min<int64_t>(kTileRows, m - i));
        const T* rows[kTileRows];  // past the last row, the last row again: computed, not stored
        for (int r = 0; r < kTileRows; ++r)
          rows[r] = a + (i + std::min(r, valid - 1)) * a_row + p0 * a_step;
        for (int64_t j = 0; j < columns; j += kTile) {
          tile_product(rows, a_step, depth, packed + j * depth, sums);
          const int64_t wide = std::min(kTile, columns - j);
          for (int r = 0; r < valid; ++r) {
            T* out = c + (i + r) * ldc + j0 + j;
            const T* sum = sums + r * kTile;
            if (p0 > 0) {
              for (int64_t x = 0; x < wide; ++x) out[x] += alpha * sum[x];
            } else if (beta == T(0)) {
              for (int64_t x = 0; x < wide; ++x) out[x] = alpha * sum[x];
            } else {
              for (int64_t x = 0; x < wide; ++x) out[x] = alpha * sum[x] + beta * out[x];
            }
          }
        }
      }
    }
  }
}

#define WEFT_PLAIN_MULTIPLY(T)                                                                 \
  template void plain_multiply<T>(bool, bool, int64_t, int64_t, int64_t, T, const T*, int64_t, \
                                  const T*, int64_t, T, T*, int64_t);
WEFT_PLAIN_MULTIPLY(float)
WEFT_PLAIN_MULTIPLY(double)
WEFT_PLAIN_MULTIPLY(uint32_t)
WEFT_PLAIN_MULTIPLY(uint64_t)
#undef WEFT_PLAIN_MULTIPLY

}  // namespace weft::cpu
