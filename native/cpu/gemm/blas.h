// Matrix products on the calling thread: OpenBLAS where the build has it, else our plain loops.
// gemm.cc and the attention kernels split their work over threads and call this for each block.
#pragma once

#include <cstdint>

namespace weft::cpu {

/// C (m,n) = alpha * op(A) (m,k) · op(B) (k,n) + beta * C, row-major; beta 0 does not read C. Any
/// k, zero too.
void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, float alpha,
              const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
              int64_t ldc);
void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, double alpha,
              const double* a, int64_t lda, const double* b, int64_t ldb, double beta, double* c,
              int64_t ldc);

/// The same in plain loops, for float, double and, as integers modulo 2^32 and 2^64, uint32_t and
/// uint64_t (which gives i32 and i64 products their wrap-around without undefined behaviour).
template <typename T>
void plain_multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, T alpha,
                    const T* a, int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

inline void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
                     uint32_t alpha, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb,
                     uint32_t beta, uint32_t* c, int64_t ldc) {
  plain_multiply(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
inline void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
                     uint64_t alpha, const uint64_t* a, int64_t lda, const uint64_t* b, int64_t ldb,
                     uint64_t beta, uint64_t* c, int64_t ldc) {
  plain_multiply(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace weft::cpu
