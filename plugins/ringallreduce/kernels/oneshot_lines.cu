// One-shot all-reduce by lines, for middle payloads: each rank pushes its input to every other and sums
// what arrives, in rank order; a warp has kUnroll steps in flight. Started by launch_oneshot().
//
// Order of memory operations: each line carries its epoch (line_packet.cuh says what that rests on);
//   rank A:  st.relaxed.sys.v4.b32 by 8 threads, inbox(B)[A][line] = 120 bytes : e : e
//   rank B:  ld.relaxed.sys.v4.b32 by 8 threads until the line's epoch is e, voted on by the warp
// No fence, no flag, no barrier between ranks. Own input is read before own output is written by the
// same thread, so both may be one buffer. Banks alternate by the epoch's parity (workspace.h).
#include "line_packet.cuh"

namespace ringallreduce {
namespace {

template <typename T, int kMost, bool kAnyOp, int kUnroll>
__global__ void __launch_bounds__(kMost == 2 ? 1024 : 512)
    oneshot_lines(const __grid_constant__ Call call) {
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch);
  const uint64_t sequence = header->sequence;
  const uint32_t ranks = kMost == 2 ? 2 : args.ranks, rank = args.rank;
  const uint64_t bytes = args.count * sizeof(T), steps = (bytes + kStepBytes - 1) / kStepBytes;
  const Span in(args.input, bytes), out(args.outputs[rank], bytes);
  const uint64_t bank = call.layout.lines + bank_of(epoch) * ranks * call.layout.lines_source;
  const uint64_t mine = rank * call.layout.lines_source;
  const uint32_t others = ((1u << ranks) - 1) & ~(1u << rank);
  const float scale = scale_of(args);
  const LineThread me;
  Watch watch(epoch);

  // Neighbouring steps go to different CTAs.
  const uint64_t warps = static_cast<uint64_t>(gridDim.x) * (blockDim.x / 32);
  bool left = false;
  for (uint64_t base = static_cast<uint64_t>(threadIdx.x / 32) * gridDim.x + blockIdx.x;
       base < steps && !left; base += warps * kUnroll) {
    LinePart own[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const uint64_t step = base + u * warps;
      if (step < steps) own[u] = me.load(in, step, epoch);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const uint64_t step = base + u * warps;
      if (step >= steps) break;
#pragma unroll
      for (uint32_t r = 0; r < kMost; ++r) {
        if (r < ranks && r != rank) {
          me.push(part(call, r, bank) + mine + step * kStepLineBytes, own[u]);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const uint64_t step = base + u * warps;
      if (step >= steps || left) break;
      LinePart got[kMost];
      if (!wait_lines<kMost>(call, me, watch, part(call, rank, bank) + step * kStepLineBytes,
                             others, epoch, kContribution, step, got)) {
        left = true;
        break;
      }
      Sum<T, 4, kAnyOp> first, second;
#pragma unroll
      for (uint32_t s = 0; s < kMost; ++s) {
        if (s >= ranks) continue;
        uint32_t x[4], y[4];
        me.unwrap(pick(s == rank, own[u], got[s]), x, y);
        first.take(args.op, s == 0, x);
        second.take(args.op, s == 0, y);
      }
      uint32_t x[4], y[4];
      first.give(scale, x);
      second.give(scale, y);
      me.store(out, step, x, y);
    }
  }
  finish(header, epoch, sequence);
}

}  // namespace

const void* oneshot_lines_kernel(const Args& args) {
  return instance_for(args, [&]<typename T, int kMost, bool kAnyOp>() {
    if constexpr (!kAnyOp) {
      if constexpr (kMost == 2) {
        if (args.unroll == 4) return reinterpret_cast<const void*>(&oneshot_lines<T, 2, false, 4>);
      }
      if constexpr (kMost <= 4) {
        if (args.unroll >= 2) {
          return reinterpret_cast<const void*>(&oneshot_lines<T, kMost, false, 2>);
        }
      }
    }
    return reinterpret_cast<const void*>(&oneshot_lines<T, kMost, kAnyOp, 1>);
  });
}

}  // namespace ringallreduce
