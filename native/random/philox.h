// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four 32-bit
// words from a 64-bit key and a 128-bit counter. Stateless, so any thread makes any element's
// number: element i of a draw at `offset` takes word i % 4 of counter (offset + i / 4). The same
// header serves both drivers.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define WEFT_HD __host__ __device__ __forceinline__
#else
#define WEFT_HD inline
#endif

namespace weft::philox {

struct Words {
  uint32_t w[4];
};

WEFT_HD Words generate(uint64_t seed, uint64_t counter) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0,
           c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c0 = n0;
    c1 = static_cast<uint32_t>(p1);
    c2 = n2;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// [0, 1) with 24 random bits: exact in f32.
WEFT_HD float to_uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// Two independent standard normals from two words (Box and Muller 1958).
WEFT_HD void to_normal(uint32_t a, uint32_t b, float* x, float* y) {
  float u = static_cast<float>((a >> 8) + 1u) * 0x1p-24f;  // (0, 1]: the logarithm stays finite
  float v = to_uniform(b) * 6.283185307179586f;
  float r = sqrtf(-2.0f * logf(u));
  *x = r * cosf(v);
  *y = r * sinf(v);
}

}  // namespace weft::philox
