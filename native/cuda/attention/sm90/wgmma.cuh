// Hopper's warpgroup products (PTX wgmma.mma_async) as attention and split products use them: 64 rows by kColumns, 16
// deep, 16-bit operands, sums in f32. Used by sm90/{forward,backward_*}.cuh and gemm/split_tile.cuh.
//
// A warpgroup is four warps; warp w owns rows 16w..16w+15 and holds its sums as mma.sync does (see
// mma.cuh): of each 8 columns, c[0], c[1] at row g, columns 2t and 2t+1; c[2], c[3] at row g + 8. A
// left operand in registers lies as mma.sync's of m16n8k16.
//
// Products run beside the program. Between begin_products() and the wait_products() that ends them
// neither their sums nor their left operand's registers may be read or written; hold() keeps the
// compiler from moving such accesses across. What shared memory they read may be written over only
// after that wait too.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/attention/mma.cuh"

namespace weft::cuda::attention::sm90 {

inline constexpr int kAtomColumns = 64;  // of 16 bits: 128 bytes, one swizzle row
inline constexpr uint32_t kAtomBytes = 8 * kAtomColumns * 2;  // eight rows: the swizzle's period

/// Describes rows of 64 elements, 128-byte swizzled (PTX, "Matrix descriptor"): `leading` bytes
/// from one block of 64 columns to the next where columns are not summed over.
__device__ inline uint64_t describe(uint32_t address, uint32_t leading) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | static_cast<uint64_t>(kAtomBytes >> 4) << 32 |
         static_cast<uint64_t>(leading >> 4) << 16 | ((address & 0x3ffff) >> 4);
}

__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` of the latest groups are still under way.
template <int kPending>
__device__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

template <int kTiles>
__device__ void hold(float (&sums)[kTiles][4]) {
#pragma unroll
  for (int j = 0; j < kTiles; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(sums[j][e])::"memory");
}

#define WEFT_SUMS_4(j) "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])
#define WEFT_SUMS_32                                                                              \
  WEFT_SUMS_4(0), WEFT_SUMS_4(1), WEFT_SUMS_4(2), WEFT_SUMS_4(3), WEFT_SUMS_4(4), WEFT_SUMS_4(5), \
      WEFT_SUMS_4(6), WEFT_SUMS_4(7)
#define WEFT_SUMS_64                                                                               \
  WEFT_SUMS_32, WEFT_SUMS_4(8), WEFT_SUMS_4(9), WEFT_SUMS_4(10), WEFT_SUMS_4(11), WEFT_SUMS_4(12), \
      WEFT_SUMS_4(13), WEFT_SUMS_4(14), WEFT_SUMS_4(15)
#define WEFT_NAMES_32                                                                   \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22," \
  "%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define WEFT_NAMES_64                                                                    \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,"  \
  "%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43," \
  "%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"

// `add`: to what the sums hold, else over it.
#define WEFT_LEFT_IN_REGISTERS(n, type, names, a0, a1, a2, a3, b, add, transposed, operands)      \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %" add                                              \
               ", 0;\n"                                                                           \
               "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " " names ", {%" a0 \
               ",%" a1 ",%" a2 ",%" a3 "}, %" b ", p, 1, 1, %" transposed ";}"                    \
               : operands                                                                         \
               : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right),              \
                 "r"(static_cast<int>(keep)), "n"(kTransposed ? 1 : 0))
#define WEFT_LEFT_SHARED(n, type, names, a, b, add, operands)                                   \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %" add                                            \
               ", 0;\n"                                                                         \
               "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " " names ", %" a \
               ", %" b ", p, 1, 1, 0, 0;}"                                                      \
               : operands                                                                       \
               : "l"(left), "l"(right), "r"(static_cast<int>(keep)))

/// sums (64, kColumns) = left (64, 16) · right, `keep`: added to the sums. kTransposed: right's
/// rows are what is summed over, else its columns are.
template <typename T, int kColumns, bool kTransposed>
__device__ void product(float (&sums)[kColumns / 8][4], const uint32_t (&left)[4], uint64_t right,
                        bool keep) {
  static_assert(kColumns == 64 || kColumns == 128);
  if constexpr (kColumns == 64 && std::is_same_v<T, __half>) {
    WEFT_LEFT_IN_REGISTERS("64", "f16", WEFT_NAMES_32, "32", "33", "34", "35", "36", "37", "38",
                           WEFT_SUMS_32);
  } else if constexpr (kColumns == 64) {
    WEFT_LEFT_IN_REGISTERS("64", "bf16", WEFT_NAMES_32, "32", "33", "34", "35", "36", "37", "38",
                           WEFT_SUMS_32);
  } else if constexpr (std::is_same_v<T, __half>) {
    WEFT_LEFT_IN_REGISTERS("128", "f16", WEFT_NAMES_64, "64", "65", "66", "67", "68", "69", "70",
                           WEFT_SUMS_64);
  } else {
    WEFT_LEFT_IN_REGISTERS("128", "bf16", WEFT_NAMES_64, "64", "65", "66", "67", "68", "69", "70",
                           WEFT_SUMS_64);
  }
}
/// The same with the left operand in shared memory; both are summed over their columns.
template <typename T, int kColumns>
__device__ void product(float (&sums)[kColumns / 8][4], uint64_t left, uint64_t right, bool keep) {
  static_assert(kColumns == 64 || kColumns == 128);
  if constexpr (kColumns == 64 && std::is_same_v<T, __half>) {
    WEFT_LEFT_SHARED("64", "f16", WEFT_NAMES_32, "32", "33", "34", WEFT_SUMS_32);
  } else if constexpr (kColumns == 64) {
    WEFT_LEFT_SHARED("64", "bf16", WEFT_NAMES_32, "32", "33", "34", WEFT_SUMS_32);
  } else if constexpr (std::is_same_v<T, __half>) {
    WEFT_LEFT_SHARED("128", "f16", WEFT_NAMES_64, "64", "65", "66", WEFT_SUMS_64);
  } else {
    WEFT_LEFT_SHARED("128", "bf16", WEFT_NAMES_64, "64", "65", "66", WEFT_SUMS_64);
  }
}

/// sums (64, kColumns) += leftᵀ · right, both in shared memory with what is summed over along their rows.
template <typename T, int kColumns>
__device__ void product_of_columns(float (&sums)[kColumns / 8][4], uint64_t left, uint64_t right) {
  static_assert(kColumns == 128);
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "{.reg .pred p; setp.eq.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 " WEFT_NAMES_64
        ", %64, %65, p, 1, 1, 1, 1;}"
        : WEFT_SUMS_64
        : "l"(left), "l"(right));
  } else {
    asm volatile(
        "{.reg .pred p; setp.eq.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " WEFT_NAMES_64
        ", %64, %65, p, 1, 1, 1, 1;}"
        : WEFT_SUMS_64
        : "l"(left), "l"(right));
  }
}

#undef WEFT_LEFT_SHARED
#undef WEFT_LEFT_IN_REGISTERS
#undef WEFT_NAMES_64
#undef WEFT_NAMES_32
#undef WEFT_SUMS_64
#undef WEFT_SUMS_32
#undef WEFT_SUMS_4

}  // namespace weft::cuda::attention::sm90
