// The kernels of the plugin as plain functions: what one rank passes to start its part of an
// all-reduce, a reduce-scatter or an all-gather. Called by the plugin's glue and by
// test/cuda/ring_kernels; knows nothing of weft.
//
// Every rank of a call launches once, with the same kind, count, type, op, format, capacity, ctas,
// threads and chunk_bytes. Launches are asynchronous, may be captured, and may be replayed: epochs are
// held in the workspace. All CTAs of all ranks that share a GPU must be resident at once.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ringallreduce {

constexpr uint32_t kMostRanks = 8;
constexpr uint32_t kRingThreads = 384;

/// What a call does; `count` is as in the C ABI: of a reduce-scatter's output, of an all-gather's input.
enum class Kind : uint32_t { kAllReduce, kReduceScatter, kAllGather };
enum class Type : uint32_t { kF32, kF16, kBF16 };
/// Numbers as in the C ABI.
enum class Op : uint32_t { kSum, kAvg, kMax, kMin, kProd };

/// How data travels.
enum class Format : uint32_t {
  kWords,   // 4 bytes of data and 4 of epoch in each 64-bit word
  kLines,   // 120 bytes of data and 8 of epoch in each 128-byte line
  kChunks,  // plain stores, one flag a chunk
  kTiles,   // bulk copies by TMA, counters
};

/// What a wait was for; Control::phase.
enum Phase : uint32_t { kContribution = 0, kResult = 1, kStart = 2, kPart = 3 };

/// Pinned host memory that the device reaches at the same address, one a rank. The host writes
/// `abort`; the first waiting thread that gives up writes the rest, `status` last. Layout as the C
/// ABI's WeftControl.
struct Control {
  uint32_t abort;
  uint32_t status;  // 0; 1: left at its deadline; 2: left because of `abort`
  uint32_t rank;
  uint32_t peer;  // that it waited for
  uint32_t epoch;
  uint32_t chunk;  // packet, step or chunk, by the format
  uint32_t phase;
  uint32_t expected;
  uint32_t seen;
  uint32_t waited_us;
  uint32_t reserved[6];
};

/// Room in the workspace; the same at all ranks of a group.
struct Capacity {
  uint64_t words_bytes;  // largest payload as words
  uint64_t
      lines_bytes;  // largest payload of a one-shot as lines; two-shot takes ranks/2 times that
  uint32_t slots;   // chunks on the way from each peer: CTAs * window
  uint32_t chunk_bytes;     // largest chunk: a multiple of 128
  uint32_t tiles = 0;       // ring: tiles on the way from the rank before: CTAs * window
  uint32_t ring_ctas = 0;   // ring: most CTAs
  uint32_t tile_bytes = 0;  // ring: largest tile: a multiple of 128
};

struct Args {
  uint32_t rank;
  uint32_t ranks;
  Kind kind = Kind::kAllReduce;
  Type type;  // of an all-gather: kF16, whatever the elements; `count` is in units of 2 bytes then
  Op op;      // of a reduce-scatter: sum or average; of an all-gather: kSum, unused
  Format format;
  uint64_t count;  // elements; 0 launches nothing
  /// 2-byte aligned (the ring: 16). In place: `output` is `input`; of a reduce-scatter, the rank's slice
  /// of it; of an all-gather, `input` is the rank's part of `output`. Else they do not overlap.
  const void* input;
  /// Of every rank. Those of others are written by the ring, and by all-reduce and all-gather in chunks.
  void* outputs[kMostRanks];
  void* workspaces[kMostRanks];  // of every rank, as this rank reaches them
  Control* control;
  uint64_t limit_ns;  // longest wait, by the device's clock
  Capacity capacity;
  uint32_t ctas;
  uint32_t threads;  // a multiple of 32 up to most_threads(); chunks and ring: exactly so many
  uint32_t
      chunk_bytes;  // for chunks: a multiple of 128, at most capacity.chunk_bytes; ring: of a tile
  uint32_t window;  // for chunks: chunks of a CTA in flight; ctas * window <= capacity.slots;
                    // ring: tiles that a CTA may have under way to the next rank
  uint32_t stages;  // ring: tiles in shared memory: 4, 8 or 16
  uint32_t lag;     // ring: tiles between a tile's steps at neighbours, at least 1
};

/// Bytes of each rank's workspace. It starts as zeros. After a kernel has left early, and when
/// nothing runs any more at any rank, the host zeroes the first protocol_bytes() of all of them and
/// the control records; then the next call works.
uint64_t workspace_bytes(const Capacity& capacity, uint32_t ranks);
uint64_t protocol_bytes(const Capacity& capacity, uint32_t ranks);

/// Largest CTA for the kind, op, format and number of ranks: fewer threads where more ranks need registers.
uint32_t most_threads(const Args& args);

/// On the current device, which must be the rank's. cudaErrorInvalidValue: arguments that contradict
/// the rules above (explain() says which).
cudaError_t launch_oneshot(const Args& args, cudaStream_t stream);
cudaError_t launch_twoshot(const Args& args, cudaStream_t stream);
cudaError_t launch_ring(const Args& args, cudaStream_t stream);
/// Null where the arguments are good.
const char* explain_oneshot(const Args& args);
const char* explain_twoshot(const Args& args);
const char* explain_ring(const Args& args);

/// CTAs of this shape that run at once on one SM of the current device; loads the kernel too, which
/// must have happened on every device before the first launch of a call.
cudaError_t resident_oneshot(const Args& args, int* ctas_per_sm);
cudaError_t resident_twoshot(const Args& args, int* ctas_per_sm);
cudaError_t resident_ring(const Args& args, int* ctas_per_sm);
/// Tiles that a ring of this shape needs in `window`, so that no two neighbours wait for each other.
uint32_t least_window(uint32_t ranks, uint32_t lag);

}  // namespace ringallreduce
