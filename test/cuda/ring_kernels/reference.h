// The host's all-reduce in rank order, bit for bit what the kernels must give. Used by the checks.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "rig.h"

namespace rig {

inline float widened(Type type, const char* at) {
  if (type == Type::kF32) {
    float v;
    memcpy(&v, at, 4);
    return v;
  }
  uint16_t bits;
  memcpy(&bits, at, 2);
  if (type == Type::kBF16) {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float v;
    memcpy(&v, &word, 4);
    return v;
  }
  __half_raw raw;
  raw.x = bits;
  return __half2float(__half(raw));
}

inline void narrowed(Type type, float v, char* to) {
  if (type == Type::kF32) {
    memcpy(to, &v, 4);
  } else if (type == Type::kF16) {
    const __half_raw raw = __float2half_rn(v);
    memcpy(to, &raw.x, 2);
  } else {
    const __nv_bfloat16_raw raw = __float2bfloat16_rn(v);
    memcpy(to, &raw.x, 2);
  }
}

inline float combined(Op op, float a, float b) {
  switch (op) {
    case Op::kMax:
      return (a != a || a > b) ? a : b;
    case Op::kMin:
      return (a != a || a < b) ? a : b;
    case Op::kProd:
      return a * b;
    default:
      return a + b;
  }
}

/// Element `i` of the result over all inputs, as bytes at `to`.
inline void reduced(Type type, Op op, const std::vector<std::vector<char>>& inputs, size_t i,
                    char* to) {
  const size_t size = element(type);
  float sum = widened(type, inputs[0].data() + i * size);
  for (size_t r = 1; r < inputs.size(); ++r) {
    sum = combined(op, sum, widened(type, inputs[r].data() + i * size));
  }
  const volatile float scale = op == Op::kAvg ? 1.0f / static_cast<float>(inputs.size()) : 1.0f;
  narrowed(type, sum * scale, to);
}

/// The same in ring order: the rank whose slice it is begins, each hop rounds to the type.
inline void reduced_by_ring(Type type, Op op, const std::vector<std::vector<char>>& inputs, size_t i,
                            char* to) {
  const size_t size = element(type), n = inputs.size(), packs = (inputs[0].size() + 15) / 16;
  const size_t slice = i * size / 16 / (((packs + n - 1) / n + 7) / 8 * 8);
  memcpy(to, inputs[slice].data() + i * size, size);
  for (size_t hop = 1; hop < n; ++hop) {
    const char* own = inputs[(slice + hop) % n].data() + i * size;
    const float sum = combined(op, widened(type, to), widened(type, own));
    const bool average = op == Op::kAvg && hop + 1 == n;
    const volatile float scale = average ? 1.0f / static_cast<float>(n) : 1.0f;
    narrowed(type, sum * scale, to);
  }
}

/// Bits, or both NaN: which NaN an addition gives is the machine's choice.
inline bool same(Type type, const char* a, const char* b) {
  if (memcmp(a, b, element(type)) == 0) return true;
  const float x = widened(type, a), y = widened(type, b);
  return x != x && y != y;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  uint64_t below(uint64_t n) { return (next() >> 11) % n; }

 private:
  uint64_t state_;
};

/// Any bits, or values near 1; so NaN, infinities, zeros and subnormals come too.
inline void fill(Random& random, Type type, bool any_bits, std::vector<char>& to) {
  const size_t size = element(type), count = to.size() / size;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = random.next();
    if (any_bits && (bits & 7) == 0) {
      static const float special[] = {0.0f, -0.0f,  INFINITY, -INFINITY,
                                      NAN,  1e-40f, -3e-42f,  65504.0f};
      narrowed(type, special[(bits >> 3) & 7], to.data() + i * size);
    } else if (any_bits && (bits & 7) < 4) {
      const uint64_t raw = bits >> 16;
      memcpy(to.data() + i * size, &raw, size);
    } else {
      narrowed(type, static_cast<float>(static_cast<int64_t>(bits >> 40) - (1 << 23)) / (1 << 22),
               to.data() + i * size);
    }
  }
}

}  // namespace rig
