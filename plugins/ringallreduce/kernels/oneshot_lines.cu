// One-shot by lines, for middle payloads: each rank pushes its input to every other (reduce-scatter: the
// slice that is theirs) and sums what arrives, in rank order (all-gather: stores it side by side). Started by launch_oneshot().
//
// Order of memory operations: each line carries its epoch (line_packet.cuh says what that rests on);
//   rank A:  st.relaxed.sys.v4.b32 by 8 threads, inbox(B)[A][line] = 120 bytes : e : e
//   rank B:  ld.relaxed.sys.v4.b32 by 8 threads until the line's epoch is e, voted on by the warp
// No fence, no flag, no barrier between ranks. Own input is read before own output is written by the
// same thread, so both may be one buffer. Banks alternate by the epoch's parity (workspace.h).
#include "line_packet.cuh"

namespace ringallreduce {
namespace {

template <Kind kKind, typename T, int kMost, bool kAnyOp>
__global__ void __launch_bounds__(kMost == 2 ? 1024 : line_threads(kMost), 1)
    oneshot_lines(const __grid_constant__ Call call) {
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch);
  const uint32_t ranks = kMost == 2 ? 2 : args.ranks, rank = args.rank;
  const uint64_t bytes = args.count * sizeof(T), steps = (bytes + kStepBytes - 1) / kStepBytes;
  const Span in = input_for<kKind>(args, rank, bytes), out(args.outputs[rank], bytes);
  const uint64_t bank = call.layout.lines + bank_of(epoch) * ranks * call.layout.lines_source;
  const uint64_t mine = rank * call.layout.lines_source;
  const uint32_t others = ((1u << ranks) - 1) & ~(1u << rank);
  const float scale = scale_of(args);
  const LineThread me;
  Watch watch(epoch);

  // Neighbouring steps go to different CTAs.
  const uint64_t warps = static_cast<uint64_t>(gridDim.x) * (blockDim.x / 32);
  for (uint64_t step = static_cast<uint64_t>(threadIdx.x / 32) * gridDim.x + blockIdx.x;
       step < steps; step += warps) {
    const LinePart own = me.load(in, step, epoch);
#pragma unroll
    for (uint32_t r = 0; r < kMost; ++r) {
      if (r >= ranks || r == rank) continue;
      char* to = part(call, r, bank) + mine + step * kStepLineBytes;
      if constexpr (kKind == Kind::kReduceScatter) {
        me.push(to, me.load(input_for<kKind>(args, r, bytes), step, epoch));
      } else {
        me.push(to, own);
      }
    }
    LinePart got[kMost];
    if (!wait_lines<kMost>(call, me, watch, part(call, rank, bank) + step * kStepLineBytes, others,
                           epoch, kContribution, step, got)) {
      break;
    }
    Sum<T, 4, kAnyOp> first, second;
#pragma unroll
    for (uint32_t s = 0; s < kMost; ++s) {
      if (s >= ranks) continue;
      uint32_t x[4], y[4];
      me.unwrap(pick(s == rank, own, got[s]), x, y);
      if constexpr (kKind == Kind::kAllGather) {
        me.store(part_of(args, rank, s, bytes), step, x, y);
      } else {
        first.take(args.op, s == 0, x);
        second.take(args.op, s == 0, y);
      }
    }
    if constexpr (kKind != Kind::kAllGather) {
      uint32_t x[4], y[4];
      first.give(scale, x);
      second.give(scale, y);
      me.store(out, step, x, y);
    }
  }
  finish(header, epoch);
}

}  // namespace

const void* oneshot_lines_kernel(const Args& args) {
  if (args.kind == Kind::kReduceScatter) {
    return sum_instance_for(args, []<typename T, int kMost>() {
      return reinterpret_cast<const void*>(&oneshot_lines<Kind::kReduceScatter, T, kMost, false>);
    });
  }
  if (args.kind == Kind::kAllGather) {
    return ranks_instance_for(args, []<int kMost>() {
      return reinterpret_cast<const void*>(&oneshot_lines<Kind::kAllGather, __half, kMost, false>);
    });
  }
  return instance_for(args, []<typename T, int kMost, bool kAnyOp>() {
    return reinterpret_cast<const void*>(&oneshot_lines<Kind::kAllReduce, T, kMost, kAnyOp>);
  });
}

}  // namespace ringallreduce
