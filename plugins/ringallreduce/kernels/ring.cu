// Ring all-reduce by TMA, for large payloads from few CTAs. Slices travel from rank to rank as tiles,
// each rank adds its own; the rank that adds last stores the result into all outputs (a switch reaches
// them all; here a multicast store would go). Data is only ever pushed. Started by launch_ring().
//
// CTA b of every rank does tiles b, b + CTAs, ... of all slices, in the order of Walk, so the tiles from
// the rank before arrive in the order in which they are taken. Its warps:
//   0     load   own tiles, and tiles of the inbox, into shared memory (cp.async.bulk, an mbarrier each)
//   1     watch  polls what other ranks write: `arrived` (tiles in my inbox), `credit` (tiles of mine
//                that the next rank has taken in), at the end `done` of all; alone has the deadline
//   2     store  tiles to the next rank's inbox or to all outputs; several bulk groups in flight; after
//                full completion (not `.read`) it counts them in `stored` and frees their stage
//   3     post   passes `stored` on to the next rank's `arrived`, `consumed` to the rank before's
//                `credit`, at the end `done` to all; one release for all that was counted meanwhile
//   4-11  add    in f32; each hop rounds to the element type; bytes that end a payload without filling
//                16 are loaded and stored here, since bulk copies move 16 at a time
// Counters between ranks hold sequence + tiles of this call, and are compared by >=.
//
// What is ordered by what:
//   tile before it is taken: bulk store > wait_group > st.release.cta stored | post: ld.acquire.cta >
//     st.release.sys arrived | watch: ld.relaxed.sys, then ld.acquire.sys > fence.proxy.async >
//     st.release.cta | load: ld.acquire.cta > bulk load. A proxy fence anywhere on the way of causality
//     orders both proxies; in the watch it delays nobody
//   inbox slot used again: bulk load > mbarrier > consumed > credit (as above) > bulk store. No call starts with tiles of mine untaken: each leads to a sum whose `done` I awaited.
//   result before the end of q's kernel: bulk stores and stores > finished > st.release.sys done |
//     q's watch: ld.acquire.sys > barrier of the CTA
//   in place: the last adder overwrites q's slice, which q loaded before it passed the tile on from
//     which the last adder's tile came. That it came says also that q's kernel runs.
// No two ranks wait for each other: an item of wave w needs the rank before's items up to wave
// w - lag, and room that the next rank makes by its items up to wave w - 1, where the window is as
// least_window() says. Before the store warp waits for anything, it publishes all that it has stored.
//
// Litmus (x written and read by bulk copies, A and B on two GPUs):
//   A0: bulk st x=1; commit; wait_group 0; st.release.cta s=1   A1: ld.acquire.cta s==1; st.release.sys f=1
//   B0: ld.relaxed.sys f==1; ld.acquire.sys f==1; fence.proxy.async; st.release.cta t=1
//   B1: ld.acquire.cta t==1; bulk r = ld x
//   forbidden: r == 0. Verdict: safe: wait_group makes x visible to A0, and causality is transitive.
// Mutations that break it: release dropped (1), scope narrowed (2), `.read` for the full wait (3),
// wait for results left out (4).
#include "ring_pipe.cuh"

namespace ringallreduce {
namespace {

template <typename T, bool kAnyOp>
struct Ring {
  const Call& call;
  const Args& args;
  const Chunks& chunks;
  const Span in;
  Pipe& pipe;
  char* tiles;          // own, then of the inbox
  const uint64_t base;  // counters before the call
  const uint64_t most;  // tiles that any CTA sends
  const uint32_t epoch;

  __device__ __forceinline__ uint32_t next_rank() const {
    return args.rank + 1 == args.ranks ? 0 : args.rank + 1;
  }
  __device__ __forceinline__ uint32_t rank_before() const {
    return args.rank == 0 ? args.ranks - 1 : args.rank - 1;
  }
  __device__ __forceinline__ char* own_tile(const Stage& s) const {
    return tiles + s.index * args.chunk_bytes;
  }
  __device__ __forceinline__ char* inbox_tile(const Stage& s) const {
    return tiles + (args.stages + s.index) * args.chunk_bytes;
  }
  __device__ __forceinline__ char* inbox(uint32_t owner, uint32_t slot) const {
    const uint64_t index = uint64_t{blockIdx.x} * args.window + slot;
    return part(call, owner, call.layout.tiles + index * args.capacity.tile_bytes);
  }
  __device__ __forceinline__ uint64_t* counter(uint32_t owner, uint64_t which,
                                               uint32_t source = 0) const {
    const uint64_t index = uint64_t{source} * args.capacity.ring_ctas + blockIdx.x;
    return reinterpret_cast<uint64_t*>(part(call, owner, which + index * kFlagBytes));
  }
  __device__ __forceinline__ void load() const {
    Walk walk(args, chunks);
    Stage own(args.stages), other(args.stages / 2);
    uint32_t slot = 0, taken = 0, known = 0, own_loads = 0, other_loads = 0;
    while (walk.next()) {
      if (!wait_barrier(pipe, &pipe.empty_own[own.index], own.phase ^ 1)) break;
      const uint64_t offset = walk.offset(), left = (in.bytes - offset) & ~uint64_t{15};
      const uint32_t bytes =
          left < walk.packs * 16u ? static_cast<uint32_t>(left) : walk.packs * 16u;
      pipe.items[own.index] = {offset, walk.packs, bytes, walk.step};
      ClusterTransactionBarrier::arrive_and_expect_tx(&pipe.full_own[own.index], bytes);
      if (bytes != 0) {
        cute::SM90_BULK_COPY_G2S::copy(in.base + offset, &pipe.full_own[own.index], own_tile(own),
                                       static_cast<int32_t>(bytes));
      }
      own.advance();
      ++own_loads;
      if (walk.step == 0) continue;
      if (taken >= known && !wait_counter(pipe, &pipe.counters.arrived, taken, known)) break;
      if (!wait_barrier(pipe, &pipe.empty_inbox[other.index], other.phase ^ 1)) break;
      ClusterTransactionBarrier::arrive_and_expect_tx(&pipe.full_inbox[other.index],
                                                      walk.packs * 16);
      cute::SM90_BULK_COPY_G2S::copy(inbox(args.rank, slot), &pipe.full_inbox[other.index],
                                     inbox_tile(other), static_cast<int32_t>(walk.packs * 16));
      other.advance();
      ++other_loads;
      ++taken;
      if (++slot == args.window) slot = 0;
    }
    // Shared memory must not be given back while a copy is under way to it; these come by themselves.
    drain(pipe.full_own, own, own_loads);
    drain(pipe.full_inbox, other, other_loads);
    if (wait_barrier(pipe, &pipe.empty_own[own.index], own.phase ^ 1)) {
      pipe.items[own.index] = {};
      ClusterBarrier::arrive(&pipe.full_own[own.index]);
    }
  }

  __device__ __forceinline__ static void drain(const uint64_t* barriers, Stage next,
                                               uint32_t loads) {
    for (uint32_t i = 0; i < next.count && i < loads; ++i) {
      if (next.index == 0) next.index = next.count, next.phase ^= 1;
      --next.index;
      while (!ClusterBarrier::try_wait(&barriers[next.index], next.phase)) {
      }
    }
  }

  __device__ __forceinline__ void add(uint32_t thread) const {
    Stage own(args.stages), other(args.stages / 2);
    uint32_t taken = 0;
    const float average = scale_of(args);
    while (true) {
      if (!wait_barrier(pipe, &pipe.full_own[own.index], own.phase)) return;
      const Item item = pipe.items[own.index];
      auto* mine = reinterpret_cast<uint4*>(own_tile(own));
      const uint32_t full = item.bytes / 16;
      if (item.step == 0) {
        if (full + thread < item.packs) mine[full] = in.pack(item.offset + full * 16);
      } else {
        if (!wait_barrier(pipe, &pipe.full_inbox[other.index], other.phase)) return;
        if (thread == 0) store_counter(&pipe.counters.consumed, ++taken);
        const auto* theirs = reinterpret_cast<const uint4*>(inbox_tile(other));
        const bool last = item.step == args.ranks - 1;
        const float scale = last ? average : 1.0f;
#pragma unroll 4
        for (uint32_t p = thread; p < item.packs; p += kAdders) {
          const uint4 a = theirs[p], b = p < full ? mine[p] : in.pack(item.offset + p * 16);
          const uint32_t first[4] = {a.x, a.y, a.z, a.w}, second[4] = {b.x, b.y, b.z, b.w};
          Sum<T, 4, kAnyOp> total;
          total.take(args.op, true, first);
          total.take(args.op, false, second);
          uint32_t result[4];
          total.give(scale, result);
          mine[p] = make_uint4(result[0], result[1], result[2], result[3]);
          if (p >= full && last) {
            for (uint32_t q = 0; q < args.ranks; ++q) {
              Span(args.outputs[q], in.bytes).store(item.offset + p * 16, result);
            }
          }
        }
      }
      cutlass::arch::fence_view_async_shared();
      __syncwarp();
      if (thread % 32 == 0) {
        ClusterBarrier::arrive(&pipe.summed[own.index]);
        if (item.step != 0) ClusterBarrier::arrive(&pipe.empty_inbox[other.index]);
      }
      if (item.packs == 0) return;
      own.advance();
      if (item.step != 0) other.advance();
    }
  }

  /// The oldest `items` under way are stored: says so.
  __device__ __forceinline__ void publish(Stage& freed, uint32_t& stored, uint32_t items) const {
    const uint32_t before = stored;
    for (; items > 0; --items) {
      stored += pipe.items[freed.index].step != args.ranks - 1;
      ClusterBarrier::arrive(&pipe.empty_own[freed.index]);
      freed.advance();
    }
    if (stored != before) store_counter(&pipe.counters.stored, stored);
  }

  /// At most kPending groups are left under way behind a new one.
  template <uint32_t kPending>
  __device__ __forceinline__ void store() const {
    Stage own(args.stages), freed(args.stages);
    uint32_t slot = 0, pushed = 0, pending = 0, stored = 0, credit = 0;
    char* const to = inbox(next_rank(), 0);
    const auto flush = [&] {
      wait_stores<0>();
      publish(freed, stored, pending);
      pending = 0;
    };
    while (true) {
      if (!ClusterBarrier::test_wait(&pipe.summed[own.index], own.phase, 1)) {
        flush();
        if (!wait_barrier(pipe, &pipe.summed[own.index], own.phase)) break;
      }
      const Item item = pipe.items[own.index];
      if (item.packs == 0) break;
      if (item.step != args.ranks - 1) {
        if (pushed >= args.window + credit) {
          flush();
          if (!wait_counter(pipe, &pipe.counters.credit, pushed - args.window, credit)) break;
        }
        cute::SM90_BULK_COPY_S2G::copy(own_tile(own),
                                       to + uint64_t{slot} * args.capacity.tile_bytes,
                                       static_cast<int32_t>(item.packs * 16));
        ++pushed;
        if (++slot == args.window) slot = 0;
      } else if (item.bytes != 0) {
        for (uint32_t turn = 1, q = next_rank(); turn <= args.ranks; ++turn) {
          cute::SM90_BULK_COPY_S2G::copy(own_tile(own),
                                         static_cast<char*>(args.outputs[q]) + item.offset,
                                         static_cast<int32_t>(item.bytes));
          if (++q == args.ranks) q = 0;
        }
      }
      cute::tma_store_arrive();
      own.advance();
      if (++pending > kPending) {
        wait_stores<kPending>();
        publish(freed, stored, pending - kPending);
        pending = kPending;
      }
    }
    wait_stores<0>();
    if (load_counter(&pipe.counters.left) != 0) return;
    publish(freed, stored, pending);
    store_counter(&pipe.counters.finished, 1);
  }

  __device__ __forceinline__ void post() const {
    uint64_t* const arrived = counter(next_rank(), call.layout.arrived);
    uint64_t* const credit = counter(rank_before(), call.layout.credit);
    uint32_t posted = 0, credited = 0;
    const uint32_t quarter = args.window / 4 + 1;
    while (true) {
      const bool finished = load_counter(&pipe.counters.finished) != 0;
      const uint32_t stored = load_counter(&pipe.counters.stored);
      if (stored != posted) {
        release_flag(arrived, base + stored);
        posted = stored;
      }
      const uint32_t consumed = load_counter(&pipe.counters.consumed);
      if (consumed - credited >= quarter) {
        release_flag(credit, base + consumed);
        credited = consumed;
      }
      if (finished) break;
      if (load_counter(&pipe.counters.left) != 0) return;
    }
    for (uint32_t q = 0; q < args.ranks; ++q) {
      if (q != args.rank) release_flag(counter(q, call.layout.done, args.rank), base + most);
    }
  }

  /// Passes on what a counter has come to, if it moved.
  __device__ __forceinline__ bool follow(const uint64_t* from, uint64_t seen, uint32_t* to,
                                         uint32_t& known) const {
    if (seen <= base + known) return false;
    known = static_cast<uint32_t>(acquire_flag(from) - base);
    proxy_fence();
    store_counter(to, known);
    return true;
  }

  __device__ __forceinline__ void watch() const {
    const uint32_t wanted = tiles_to_take(args, chunks);
    uint32_t arrived = 0, credit = 0;
    Watch clock(epoch);
    const uint64_t* const in_arrived = counter(args.rank, call.layout.arrived);
    const uint64_t* const in_credit = counter(args.rank, call.layout.credit);
    while (arrived < wanted) {
      const uint64_t tiles_in = load_flag(in_arrived), taken = load_flag(in_credit);
      const bool moved = follow(in_arrived, tiles_in, &pipe.counters.arrived, arrived);
      if (follow(in_credit, taken, &pipe.counters.credit, credit) || moved) {
        clock.restart();
      } else if (clock.leave(args, kContribution, rank_before(), arrived, wanted, arrived)) {
        return store_counter(&pipe.counters.left, 1);
      }
    }
#if WEFT_MUTATION != 4
    for (uint32_t turn = 1; turn < args.ranks; ++turn) {
      const uint32_t q = (args.rank + turn) % args.ranks;
      const uint64_t* const done = counter(args.rank, call.layout.done, q);
      clock.restart();
      uint64_t seen;
      while ((seen = load_flag(done)) < base + most) {
        if (follow(in_credit, load_flag(in_credit), &pipe.counters.credit, credit)) clock.restart();
        if (clock.leave(args, kResult, q, 0, static_cast<uint32_t>(base + most),
                        static_cast<uint32_t>(seen))) {
          return store_counter(&pipe.counters.left, 1);
        }
      }
      acquire_flag(done);
    }
#endif
    // All that I pushed was taken in, so my own warps need to hear of nothing more.
  }
};

template <typename T, bool kAnyOp>
__global__ void __launch_bounds__(kRingThreads, 1) ring(const __grid_constant__ Call call) {
  extern __shared__ __align__(128) char tiles[];
  __shared__ Pipe pipe;
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch), warp = threadIdx.x / 32;
  const uint64_t base = header->sequence, bytes = args.count * sizeof(T);
  const Chunks chunks(bytes, args.ranks, args.chunk_bytes);
  const uint64_t most = (chunks.chunks + gridDim.x - 1) / gridDim.x * (args.ranks - 1);
  if (threadIdx.x == 0) {
    for (uint32_t s = 0; s < args.stages; ++s) {
      ClusterBarrier::init(&pipe.full_own[s], 1);
      ClusterBarrier::init(&pipe.summed[s], kAdders / 32);
      ClusterBarrier::init(&pipe.empty_own[s], 1);
    }
    for (uint32_t s = 0; s < args.stages / 2; ++s) {
      ClusterBarrier::init(&pipe.full_inbox[s], 1);
      ClusterBarrier::init(&pipe.empty_inbox[s], kAdders / 32);
    }
    pipe.counters = {};
    cutlass::arch::fence_barrier_init();
  }
  __syncthreads();
  const Ring<T, kAnyOp> mine{call, args, chunks, Span(args.input, bytes), pipe, tiles,
                             base, most, epoch};
  if (warp >= 4) {
    mine.add(threadIdx.x - 128);
  } else if (threadIdx.x % 32 == 0) {
    if (warp == 0) mine.load();
    if (warp == 1) mine.watch();
    if (warp == 2) {
      if (args.stages == 16) {
        mine.template store<8>();
      } else if (args.stages == 8) {
        mine.template store<4>();
      } else {
        mine.template store<1>();
      }
    }
    if (warp == 3) mine.post();
  }
  finish(header, epoch, most);
}

}  // namespace

const void* ring_kernel(const Args& args) {
  const bool any = args.op != Op::kSum && args.op != Op::kAvg;
  switch (args.type) {
    case Type::kF16:
      return reinterpret_cast<const void*>(any ? &ring<__half, true> : &ring<__half, false>);
    case Type::kBF16:
      return reinterpret_cast<const void*>(any ? &ring<__nv_bfloat16, true>
                                               : &ring<__nv_bfloat16, false>);
    default:
      return reinterpret_cast<const void*>(any ? &ring<float, true> : &ring<float, false>);
  }
}

}  // namespace ringallreduce
