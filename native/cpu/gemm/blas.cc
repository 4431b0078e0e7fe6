// multiply() for f32 and f64: one-threaded OpenBLAS, or the plain loops where the build has no BLAS
// (sanitizers need every access instrumented) and for layouts that BLAS does not take.
#include "cpu/gemm/blas.h"

#include <climits>

#if WEFT_HAVE_BLAS
#include <cblas.h>
#endif

namespace weft::cpu {
namespace {

#if WEFT_HAVE_BLAS
// Threads are ours (parallel_for); OpenBLAS's own would fight them and make borders depend on their
// number.
const bool kOneThread = [] {
  scipy_openblas_set_num_threads(1);
  return true;
}();

bool fits(int64_t x) { return x <= INT_MAX; }

// A leading dimension must span its row for BLAS; one of a single row may be anything, so it is
// made to. Returns false for broadcast rows (stride 0 or overlapping), which only the plain loops
// read.
bool leading_dimension(int64_t rows, int64_t columns, int64_t* ld) {
  if (*ld >= columns) return fits(*ld);
  if (rows > 1) return false;
  *ld = columns;
  return true;
}

CBLAS_TRANSPOSE code(bool transposed) { return transposed ? CblasTrans : CblasNoTrans; }
#endif

}  // namespace

void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, float alpha,
              const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
              int64_t ldc) {
#if WEFT_HAVE_BLAS
  if (m > 0 && n > 0 && k > 0 && fits(m) && fits(n) && fits(k) &&
      leading_dimension(a_transposed ? k : m, a_transposed ? m : k, &lda) &&
      leading_dimension(b_transposed ? n : k, b_transposed ? k : n, &ldb) &&
      leading_dimension(m, n, &ldc)) {
    scipy_cblas_sgemm(CblasRowMajor, code(a_transposed), code(b_transposed), m, n, k, alpha, a, lda,
                      b, ldb, beta, c, ldc);
    return;
  }
#endif
  plain_multiply(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, double alpha,
              const double* a, int64_t lda, const double* b, int64_t ldb, double beta, double* c,
              int64_t ldc) {
#if WEFT_HAVE_BLAS
  if (m > 0 && n > 0 && k > 0 && fits(m) && fits(n) && fits(k) &&
      leading_dimension(a_transposed ? k : m, a_transposed ? m : k, &lda) &&
      leading_dimension(b_transposed ? n : k, b_transposed ? k : n, &ldb) &&
      leading_dimension(m, n, &ldc)) {
    scipy_cblas_dgemm(CblasRowMajor, code(a_transposed), code(b_transposed), m, n, k, alpha, a, lda,
                      b, ldb, beta, c, ldc);
    return;
  }
#endif
  plain_multiply(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace weft::cpu
