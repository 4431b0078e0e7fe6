// Storage types for f16 and bf16 on the host. Arithmetic always goes through float (f32
// accumulate); conversions round to nearest even and keep NaN and infinity.
#pragma once

#include <bit>
#include <cstdint>
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace fabric {

struct BF16 {
  uint16_t bits;
  BF16() = default;
  BF16(float f) {
    uint32_t u = std::bit_cast<uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((u >> 16) | 0x40u);  // quiet NaN
    } else {
      bits = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

struct F16 {
  uint16_t bits;
  F16() = default;
#if defined(__F16C__)
  F16(float f) : bits(static_cast<uint16_t>(_cvtss_sh(f, 0))) {}
  operator float() const { return _cvtsh_ss(bits); }
#else
  F16(float f) { bits = encode(f); }
  operator float() const { return decode(bits); }
#endif

  static uint16_t encode(float f) {
    uint32_t u = std::bit_cast<uint32_t>(f);
    uint32_t sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
    if (u >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);  // >= 65536: infinity
    if (u < 0x38800000u) {                                               // subnormal or zero
      float magic = std::bit_cast<float>(0x3f000000u);                   // 0.5
      float v = std::bit_cast<float>(u) + magic;                         // rounds to nearest even
      return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(v) - 0x3f000000u));
    }
    u += 0xc8000fffu + ((u >> 13) & 1u);
    return static_cast<uint16_t>(sign | (u >> 13));
  }
  static float decode(uint16_t h) {
    uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    uint32_t body = h & 0x7fffu;
    if (body >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((body & 0x3ffu) << 13));
    if (body >= 0x0400u) return std::bit_cast<float>(sign | ((body << 13) + 0x38000000u));
    float v = static_cast<float>(body) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(v));
  }
};

}  // namespace fabric
