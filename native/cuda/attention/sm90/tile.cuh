// How attention's tiles come and go on Hopper: TMA in both directions, barriers of shared memory
// that count its bytes, and operands of products from tiles. Used by sm90/{forward,backward}.cuh.
//
// A tile of kRows rows and kWidth columns lies as kWidth / 64 blocks of (kRows, 64), each row 128
// bytes, swizzled: 16-byte chunk c of row r is at chunk c ^ (r % 8). TMA writes and reads it so
// (tensor_map.h), fills what is outside the tensor with zeros and drops what would be written there.
//
// A ring of stages: one thread of the producer warp waits until a stage is `empty`, says how many
// bytes will come (`full`'s first and only arrival of a phase) and starts TMA; consumers wait for
// `full`'s phase, read through products, and one lane of each warp arrives at `empty` after the
// products that read the stage are waited for. A stage's phase flips once a round, so the i-th use
// of it waits for parity i % 2, the producer for the one before.
#pragma once

#include <cuda.h>

#include "cuda/attention/attention.h"
#include "cuda/attention/sm90/wgmma.cuh"

namespace weft::cuda::attention::sm90 {

inline constexpr int kGroupRows = 64;  // of a warpgroup
inline constexpr int kGroupThreads = 128;
inline constexpr float kLog2E = 1.4426950408889634f;

template <typename T, int kRows, int kWidth>
struct alignas(1024) Tile {
  static constexpr int kBlocks = kWidth / kAtomColumns;
  static constexpr uint32_t kBlockBytes = kRows * kAtomColumns * sizeof(T);
  static constexpr uint32_t kBytes = kBlocks * kBlockBytes;
  T at[kBlocks][kRows][kAtomColumns];
};

// ---- Barriers

struct Barrier {
  uint64_t word;

  __device__ uint32_t address() { return shared_address(&word); }
  __device__ void init(uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals)
                 : "memory");
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory");
  }
  /// Arrives once for the whole warp, after all of it.
  __device__ void arrive_as_warp() {
    __syncwarp();
    if (lane() == 0) arrive();
  }
  __device__ void expect(uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()),
                 "r"(bytes)
                 : "memory");
  }
  __device__ void wait(uint32_t parity) {
    asm volatile(
        "{.reg .pred done;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;}" ::"r"(address()),
        "r"(parity)
        : "memory");
  }
};
/// After init(), before other threads and TMA see the barriers: one thread, then __syncthreads().
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Which stage a use takes and in which phase it is.
template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <int kThreads>
__device__ void sync_group(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(kThreads) : "memory");
}

// ---- Copies

/// Starts to bring the boxes at (row, head, batch) of `map` into `tile`, from its row `to` on; counted
/// by `full`.
template <typename T, int kRows, int kWidth>
__device__ void load(Tile<T, kRows, kWidth>& tile, int to, const CUtensorMap& map, int row,
                     int head, int batch, Barrier& full) {
#pragma unroll
  for (int block = 0; block < kWidth / kAtomColumns; ++block) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(shared_address(tile.at[block][to])),
        "l"(&map), "r"(block * kAtomColumns), "r"(row), "r"(head), "r"(batch), "r"(full.address())
        : "memory");
  }
}
/// Starts to bring `bytes`, a multiple of 16, from `from`; counted by `full`.
__device__ inline void load_flat(void* to, const void* from, uint32_t bytes, Barrier& full) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(full.address())
      : "memory");
}
/// Starts to write 16 rows from row `from` of `tile` on to (row, head, batch) of `map`.
template <typename T, int kRows, int kWidth>
__device__ void store(Tile<T, kRows, kWidth>& tile, int from, const CUtensorMap& map, int row,
                      int head, int batch) {
#pragma unroll
  for (int block = 0; block < kWidth / kAtomColumns; ++block) {
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(
            &map),
        "r"(block * kAtomColumns), "r"(row), "r"(head), "r"(batch),
        "r"(shared_address(tile.at[block][from]))
        : "memory");
  }
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Waits until this thread's stores have read their tiles.
__device__ inline void wait_stores() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

// ---- Operands

/// 16 columns from `column` on of rows `row`.. of a tile that is summed over its columns.
template <typename T, int kRows, int kWidth>
__device__ uint64_t along(Tile<T, kRows, kWidth>& tile, int row, int column) {
  return describe(shared_address(&tile.at[column / kAtomColumns][row][column % kAtomColumns]), 0);
}
/// All columns of 16 rows from `row` on of a tile that is summed over its rows.
template <typename T, int kRows, int kWidth>
__device__ uint64_t down(Tile<T, kRows, kWidth>& tile, int row) {
  return describe(shared_address(tile.at[0][row]), Tile<T, kRows, kWidth>::kBlockBytes);
}

/// A warp's 16 rows of a tile as left operands in registers, one for each 16 columns.
template <typename T, int kRows, int kWidth>
__device__ void load_left(uint32_t (&left)[kWidth / 16][4], Tile<T, kRows, kWidth>& tile,
                          int row0) {
  const int row = row0 + lane() % 16;
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    const int chunk = step % 4 * 2 + lane() / 16;
    const T* at = &tile.at[step / 4][row][(chunk ^ (row % 8)) * 8];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(left[step][0]), "=r"(left[step][1]), "=r"(left[step][2]),
                   "=r"(left[step][3])
                 : "r"(shared_address(at)));
  }
}

/// sums = left · tileᵀ, over the columns.
template <typename T, int kRows, int kWidth>
__device__ void multiply_rows(float (&sums)[kRows / 8][4], const uint32_t (&left)[kWidth / 16][4],
                              Tile<T, kRows, kWidth>& tile) {
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step)
    product<T, kRows, false>(sums, left[step], along(tile, 0, step * 16), step != 0);
}
/// sums = 64 rows of `left` from row `row0` on · tileᵀ, over the columns.
template <typename T, int kLeftRows, int kRows, int kWidth>
__device__ void multiply_rows(float (&sums)[kRows / 8][4], Tile<T, kLeftRows, kWidth>& left,
                              int row0, Tile<T, kRows, kWidth>& tile) {
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step)
    product<T, kRows>(sums, along(left, row0, step * 16), along(tile, 0, step * 16), step != 0);
}
/// sums (+)= weights (64, kRows) · tile.
template <typename T, int kRows, int kWidth>
__device__ void multiply_columns(float (&sums)[kWidth / 8][4],
                                 const uint32_t (&weights)[kRows / 16][4],
                                 Tile<T, kRows, kWidth>& tile, bool keep) {
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step)
    product<T, kWidth, true>(sums, weights[step], down(tile, step * 16), keep || step != 0);
}

/// Sums as left operands of 16 bits.
template <typename T, int kTiles>
__device__ void pack_left(uint32_t (&left)[kTiles / 2][4], const float (&sums)[kTiles][4]) {
#pragma unroll
  for (int step = 0; step < kTiles / 2; ++step) Mma<T>::from_sums(left[step], sums, step);
}

/// Writes a warp's 16 rows of sums, times `factor` of the row, to rows row0.. of `tile`, for store().
template <typename T, int kRows, int kWidth>
__device__ void put_rows(Tile<T, kRows, kWidth>& tile, int row0, const float (&sums)[kWidth / 8][4],
                         const float (&factor)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row0 + lane() / 4 + half * 8;
#pragma unroll
    for (int j = 0; j < kWidth / 8; ++j) {
      T* to = &tile.at[j / 8][row][(j % 8 ^ row % 8) * 8 + lane() % 4 * 2];
      *reinterpret_cast<uint32_t*>(to) =
          pack(sums[j][half * 2] * factor[half], sums[j][half * 2 + 1] * factor[half], T{});
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
}

template <int kRegisters>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace weft::cuda::attention::sm90
