// Conversion of f16 and bf16 rows to f32 and back, eight values an instruction where the processor
// has F16C. Called through panel.h by every kernel that takes halves.
#include "cpu/rows/panel.h"

#include "fabric/half.h"

namespace weft::cpu {
namespace {

using fabric::BF16;
using fabric::F16;

void widen_f16(const F16* from, int64_t n, float* to) {
  int64_t i = 0;
#if defined(__F16C__) && defined(__AVX__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#endif
  for (; i < n; ++i) to[i] = from[i];
}

void narrow_f16(const float* from, int64_t n, F16* to) {
  int64_t i = 0;
#if defined(__F16C__) && defined(__AVX__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; ++i) to[i] = from[i];
}

}  // namespace

void widen(DType half, const void* from, int64_t n, float* to) {
  if (half == DType::kF16) {
    widen_f16(static_cast<const F16*>(from), n, to);
  } else {
    const auto* source = static_cast<const BF16*>(from);
    for (int64_t i = 0; i < n; ++i) to[i] = source[i];
  }
}

void narrow(DType half, const float* from, int64_t n, void* to) {
  if (half == DType::kF16) {
    narrow_f16(from, n, static_cast<F16*>(to));
  } else {
    auto* target = static_cast<BF16*>(to);
    for (int64_t i = 0; i < n; ++i) target[i] = from[i];
  }
}

}  // namespace weft::cpu
