// Two-shot all-reduce by chunks of plain stores, for large payloads: rank r gets slice r from every
// rank, sums it in rank order and stores the result straight into all outputs. Bounded inbox: a CTA has
// `window` chunks on the way. Reduce-scatter is the same with slices that are whole buffers and results
// that stay: a result flag says then only that the slot is free. Started by launch_twoshot().
//
// CTA b of every rank does chunks b, b + CTAs, ... of all slices; its k-th chunk uses slot
// b * window + k % window and the flag value sequence + 1 + k. Half of the CTA pushes, half sums:
//   pusher   k >= window: wait for result flag [q][slot] of chunk k - window, of every q
//            load own input of chunk k of slice q; st inbox(q)[me][slot]; barrier of the half;
//            st.release.sys contribution flag(q)[me][slot]
//            at the end: wait for the result flags that are left
//   summer   wait for contribution flag [q][slot] of every q; ld inboxes and own input; st own output
//            and outputs of all; barrier of the half; st.release.sys result flag(q)[me][slot]
// A wait is ld.relaxed.sys until equal, by one thread a peer, each then fence.acq_rel.sys, then the
// barrier of the half.
//
// What is ordered by what:
//   contribution before sum: stores > barrier > release | acquire > barrier > loads
//   slot used again: summer's loads > barrier > release of the result | acquire > barrier > stores
//   result before the end of q's kernel: stores > barrier > release | acquire by the pusher of q
//   in place: r overwrites q's input of slice r, which q's pusher loaded before it released the
//     contribution that r acquired; q's summer touches slice q alone. So no rank waits for another at
//     the start, and outputs need no barrier: that q's contribution came says that q's kernel runs.
//
// Litmus, three threads as in PTX (weak payload x, flag f; A, B on two GPUs, barrier inside each):
//   A0: st x=1; bar     A1: bar; st.release.sys f=1   |  B0: ld.relaxed.sys f==1; fence.acq_rel.sys; bar
//                                                        B1: bar; r = ld x
//   forbidden: r == 0. Verdict: safe, by cumulativity through both barriers. The same with the load and
//   the store of x exchanged (slot used again, in place): safe.
// Mutations that break it: release dropped (1), scope narrowed to the GPU (2), last wait dropped (4).
#include "call.cuh"
#include "chunks.cuh"

namespace ringallreduce {
namespace {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kTwoRanks = 2;  // packs in flight a thread
#else
constexpr int kTwoRanks = 4;
#endif

/// What both halves of a CTA need.
template <Kind kKind, typename T, int kMost, bool kAnyOp>
struct Half {
  static constexpr uint32_t kHalf = chunk_threads(kMost) / 2;
  const Call& call;
  const Chunks chunks;
  const uint32_t ranks, rank, thread;
  const uint64_t base;   // flag value before the first chunk
  const uint64_t bytes;  // of the payload, of a slice of a reduce-scatter

  __device__ __forceinline__ uint32_t slot(uint32_t k) const {
    const uint32_t window = call.args.window;
    return blockIdx.x * window + k % window;
  }
  /// Of the k-th of this CTA; 32 bits of k are 512 GiB even for one CTA with the smallest chunks.
  __device__ __forceinline__ uint64_t chunk(uint32_t k) const {
    return blockIdx.x + uint64_t{k} * gridDim.x;
  }
  __device__ __forceinline__ uint64_t* flag(uint32_t owner, uint64_t flags, uint32_t source,
                                            uint32_t k) const {
    const uint64_t index = uint64_t{source} * call.args.capacity.slots + slot(k);
    return reinterpret_cast<uint64_t*>(part(call, owner, flags + index * kFlagBytes));
  }
  __device__ __forceinline__ char* inbox(uint32_t owner, uint32_t source, uint32_t k) const {
    const uint64_t index = uint64_t{source} * call.args.capacity.slots + slot(k);
    return part(call, owner, call.layout.chunks + index * call.args.capacity.chunk_bytes);
  }

  /// By one thread for one flag.
  __device__ __forceinline__ bool wait(Watch& watch, uint64_t flags, uint32_t source, uint32_t k,
                                       Phase phase) const {
    const uint64_t* at = flag(rank, flags, source, k);
    const uint64_t wanted = base + 1 + k;
    watch.restart();
    while (true) {
      const uint64_t seen = load_flag(at);
      if (seen == wanted) break;
      if (watch.leave(call.args, phase, source, chunk(k), static_cast<uint32_t>(wanted),
                      static_cast<uint32_t>(seen)))
        return false;
    }
    acquire_fence();
    return true;
  }

  /// True: the half must leave.
  __device__ __forceinline__ bool wait_results(Watch& watch, uint32_t k, uint32_t id) const {
    bool left = false;
    if (thread < ranks && thread != rank && chunks.length(thread, chunk(k)) != 0) {
      left = !wait(watch, call.layout.result_flags, thread, k, kResult);
    }
    return barrier_any(id, kHalf, left);
  }

  __device__ __forceinline__ void push(Watch& watch) const {
    constexpr int kUnroll = kMost == 2 ? 4 : 8;
    const uint32_t window = call.args.window;
    uint32_t k = 0;
    for (; chunk(k) < chunks.chunks; ++k) {
      if (k >= window && wait_results(watch, k - window, 1)) return;
#pragma unroll 1
      for (uint32_t turn = 1; turn < ranks; ++turn) {
        const uint32_t q = (rank + turn) % ranks;
        const uint32_t packs = chunks.length(q, chunk(k));
        const uint64_t from = chunks.first(q, chunk(k));
        char* to = inbox(q, rank, k);
        const Span in = input_for<kKind>(call.args, q, bytes);
        for (uint32_t p = thread; p < packs; p += kHalf * kUnroll) {
          uint4 v[kUnroll];
#pragma unroll
          for (int u = 0; u < kUnroll; ++u) {
            if (p + u * kHalf < packs) v[u] = in.pack((from + p + u * kHalf) * 16);
          }
#pragma unroll
          for (int u = 0; u < kUnroll; ++u) {
            if (p + u * kHalf < packs) {
              store_plain(to + (p + u * kHalf) * 16ull, v[u]);
            }
          }
        }
      }
      barrier(1, kHalf);
      if (thread < ranks && thread != rank && chunks.length(thread, chunk(k)) != 0) {
        release_flag(flag(thread, call.layout.contribution_flags, rank, k), base + 1 + k);
      }
    }
#if WEFT_MUTATION != 4
    for (uint32_t last = k > window ? k - window : 0; last < k; ++last) {
      if (wait_results(watch, last, 1)) return;
    }
#endif
  }

  __device__ __forceinline__ void sum(Watch& watch) const {
    // More would spill.
    constexpr int kUnroll = kMost == 2 ? kTwoRanks : kMost == 4 ? 3 : sizeof(T) == 4 ? 2 : 1;
    const Span in = input_for<kKind>(call.args, rank, bytes);
    const float scale = scale_of(call.args);
    for (uint32_t k = 0; chunk(k) < chunks.chunks; ++k) {
      const uint32_t packs = chunks.length(rank, chunk(k));
      if (packs == 0) return;  // and none later
      bool left = false;
      if (thread < ranks && thread != rank) {
        left = !wait(watch, call.layout.contribution_flags, thread, k, kContribution);
      }
      if (barrier_any(2, kHalf, left)) return;
      const uint64_t from = chunks.first(rank, chunk(k));
      for (uint32_t p = thread; p < packs; p += kHalf * kUnroll) {
        uint4 v[kUnroll][kMost];
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          const uint32_t at = p + u * kHalf;
          if (at >= packs) continue;
#pragma unroll
          for (uint32_t q = 0; q < kMost; ++q) {
            if (q >= ranks) continue;
            v[u][q] =
                q == rank ? in.pack((from + at) * 16) : load_plain(inbox(rank, q, k) + at * 16ull);
          }
        }
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          const uint32_t at = p + u * kHalf;
          if (at >= packs) continue;
          Sum<T, 4, kAnyOp> total;
#pragma unroll
          for (uint32_t q = 0; q < kMost; ++q) {
            if (q >= ranks) continue;
            const uint32_t words[4] = {v[u][q].x, v[u][q].y, v[u][q].z, v[u][q].w};
            total.take(call.args.op, q == 0, words);
          }
          uint32_t result[4];
          total.give(scale, result);
#pragma unroll
          for (uint32_t q = 0; q < kMost; ++q) {
            if (q >= ranks || (kKind == Kind::kReduceScatter && q != rank)) continue;
            Span(call.args.outputs[q], bytes).store((from + at) * 16, result);
          }
        }
      }
      barrier(2, kHalf);
      if (thread < ranks && thread != rank) {
        release_flag(flag(thread, call.layout.result_flags, rank, k), base + 1 + k);
      }
    }
  }
};

template <Kind kKind, typename T, int kMost, bool kAnyOp>
__global__ void __launch_bounds__(chunk_threads(kMost), 1)
    twoshot_chunks(const __grid_constant__ Call call) {
  constexpr uint32_t kHalf = chunk_threads(kMost) / 2;
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch);
  const uint64_t base = header->sequence;
  const uint32_t ranks = kMost == 2 ? 2 : args.ranks;
  const uint64_t bytes = args.count * sizeof(T);
  const Chunks chunks = kKind == Kind::kReduceScatter ? Chunks(bytes, args.chunk_bytes)
                                                      : Chunks(bytes, ranks, args.chunk_bytes);
  const Half<kKind, T, kMost, kAnyOp> half{call, chunks, ranks, args.rank, threadIdx.x % kHalf,
                                           base, bytes};
  Watch watch(epoch);
  if (threadIdx.x < kHalf) {
    half.push(watch);
  } else {
    half.sum(watch);
  }
  const uint64_t rounds = (chunks.chunks + gridDim.x - 1) / gridDim.x;
  finish(header, epoch, rounds);
}

}  // namespace

const void* twoshot_chunks_kernel(const Args& args) {
  if (args.kind == Kind::kReduceScatter) {
    return sum_instance_for(args, []<typename T, int kMost>() {
      return reinterpret_cast<const void*>(&twoshot_chunks<Kind::kReduceScatter, T, kMost, false>);
    });
  }
  return instance_for(args, []<typename T, int kMost, bool kAnyOp>() {
    return reinterpret_cast<const void*>(&twoshot_chunks<Kind::kAllReduce, T, kMost, kAnyOp>);
  });
}

}  // namespace ringallreduce
