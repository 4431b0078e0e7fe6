// All-gather by plain stores, for large payloads: each rank stores its part straight into the outputs of
// all. It needs no inbox, so it tells first that outputs may be written. Started by launch_twoshot().
//
// CTA b of every rank does chunks b, b + CTAs, ... of its own part, with one flag each way a pair of CTAs:
//   st.release.sys start flag(q)[me][b] for every q: what was in the stream before has ended
//   wait for start flag [q][b] of every q; barrier
//   ld own input; st outputs of all; barrier; st.release.sys part flag(q)[me][b]
//   wait for part flag [q][b] of every q
// A wait is ld.relaxed.sys until equal, by one thread a peer, then fence.acq_rel.sys, then the barrier.
// Flags are those of twoshot_chunks.cu, start as contribution and part as result.
//
// What is ordered by what:
//   earlier work on an output before q writes it: end of that kernel > release | acquire > barrier > stores
//   part before the end of q's kernel: stores > barrier > release | acquire > barrier
//   a flag used again: q's next call starts after it has got this rank's part flags of all CTAs, each of
//     which comes after the wait for q's start flag
// CTA b of q writes no other chunks than CTA b of this rank waits for, so no more flags are needed.
//
// Litmus: as twoshot_chunks.cu, once for the start (x read by q before, written by A) and once for the part.
// Mutations that break it: release dropped (1), scope narrowed to the GPU (2), last wait dropped (4).
#include "call.cuh"
#include "chunks.cuh"

namespace ringallreduce {
namespace {

template <int kMost>
struct Gather {
  const Call& call;
  const uint32_t ranks, rank;
  const uint64_t wanted;

  __device__ __forceinline__ uint64_t* flag(uint32_t owner, uint64_t flags, uint32_t source) const {
    const uint64_t index =
        uint64_t{source} * call.args.capacity.slots + blockIdx.x * call.args.window;
    return reinterpret_cast<uint64_t*>(part(call, owner, flags + index * kFlagBytes));
  }

  __device__ __forceinline__ void tell(uint64_t flags) const {
    const uint32_t q = threadIdx.x;
    if (q < ranks && q != rank) release_flag(flag(q, flags, rank), wanted);
  }

  /// By all threads; true: the CTA must leave.
  __device__ __forceinline__ bool wait(Watch& watch, uint64_t flags, Phase phase) const {
    const uint32_t q = threadIdx.x;
    bool left = false;
    if (q < ranks && q != rank) {
      const uint64_t* at = flag(rank, flags, q);
      watch.restart();
      while (true) {
        const uint64_t seen = load_flag(at);
        if (seen == wanted) break;
        if (watch.leave(call.args, phase, q, blockIdx.x, static_cast<uint32_t>(wanted),
                        static_cast<uint32_t>(seen))) {
          left = true;
          break;
        }
      }
      acquire_fence();
    }
    return __syncthreads_or(left) != 0;
  }
};

template <int kMost>
__global__ void __launch_bounds__(chunk_threads(kMost), 1)
    gather_chunks(const __grid_constant__ Call call) {
  constexpr uint32_t kThreads = chunk_threads(kMost);
  constexpr int kUnroll = kMost == 2 ? 4 : 8;
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch);
  const uint64_t base = header->sequence;
  const uint32_t ranks = kMost == 2 ? 2 : args.ranks, rank = args.rank;
  const uint64_t bytes = args.count * sizeof(__half);
  const Chunks chunks(bytes, args.chunk_bytes);
  const Span in(args.input, bytes);
  const bool in_place = part_of(args, rank, rank, bytes).base == in.base;
  const Gather<kMost> gather{call, ranks, rank, base + 1};
  Watch watch(epoch);

  gather.tell(call.layout.contribution_flags);
  bool left = gather.wait(watch, call.layout.contribution_flags, kStart);
  if (!left) {
    for (uint64_t chunk = blockIdx.x; chunk < chunks.chunks; chunk += gridDim.x) {
      const uint32_t packs = chunks.length(0, chunk);
      const uint64_t from = chunks.first(0, chunk);
      for (uint32_t p = threadIdx.x; p < packs; p += kThreads * kUnroll) {
        uint4 v[kUnroll];
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          if (p + u * kThreads < packs) v[u] = in.pack((from + p + u * kThreads) * 16);
        }
#pragma unroll
        for (uint32_t turn = 0; turn < kMost; ++turn) {
          if (turn >= ranks || (turn == 0 && in_place)) continue;
          const Span out = part_of(args, (rank + turn) % ranks, rank, bytes);
#pragma unroll
          for (int u = 0; u < kUnroll; ++u) {
            const uint32_t words[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
            if (p + u * kThreads < packs) out.store((from + p + u * kThreads) * 16, words);
          }
        }
      }
    }
    __syncthreads();
    gather.tell(call.layout.result_flags);
#if WEFT_MUTATION != 4
    gather.wait(watch, call.layout.result_flags, kPart);
#endif
  }
  finish(header, epoch, 1);
}

}  // namespace

const void* gather_chunks_kernel(const Args& args) {
  return ranks_instance_for(
      args, []<int kMost>() { return reinterpret_cast<const void*>(&gather_chunks<kMost>); });
}

}  // namespace ringallreduce
