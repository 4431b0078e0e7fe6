// Element types, shared by collectives (which sum them) and tensors (which compute on them).
#pragma once

#include <cstddef>
#include <cstdint>

namespace fabric {

enum class DType : uint8_t {
#define WEFT_DTYPE(enumerator, name, bytes, dl_code, dl_bits) enumerator,
#include "fabric/dtypes.def"
#undef WEFT_DTYPE
};
inline constexpr int kDTypeCount = 8;

inline constexpr size_t kDTypeBytes[kDTypeCount] = {
#define WEFT_DTYPE(enumerator, name, bytes, dl_code, dl_bits) bytes,
#include "fabric/dtypes.def"
#undef WEFT_DTYPE
};

inline constexpr const char* kDTypeNames[kDTypeCount] = {
#define WEFT_DTYPE(enumerator, name, bytes, dl_code, dl_bits) name,
#include "fabric/dtypes.def"
#undef WEFT_DTYPE
};

/// Bytes of one element.
constexpr size_t dtype_bytes(DType t) { return kDTypeBytes[static_cast<int>(t)]; }
constexpr const char* dtype_name(DType t) { return kDTypeNames[static_cast<int>(t)]; }
constexpr bool is_floating(DType t) {
  return static_cast<int>(t) <= static_cast<int>(DType::kBF16);
}
constexpr bool is_half(DType t) { return t == DType::kF16 || t == DType::kBF16; }

}  // namespace fabric
