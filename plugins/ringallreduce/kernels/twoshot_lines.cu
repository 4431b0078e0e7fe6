// Two-shot all-reduce by lines: rank r gets slice r from every rank, sums it in rank order, and gives
// the result to all. For middle payloads of three ranks and more. Started by launch_twoshot().
//
// A slice is a whole number of steps; warp w of every rank does steps w, w + warps, ... of all slices:
//   1. pushes its input of step s of slice q to q's inbox        lines [bank][source][s]
//   2. waits for step s of its own slice from all, sums, stores, pushes the result to all inboxes
//                                                                lines [bank][source][slice steps + s]
//   3. waits for the results of the other slices and stores them.
// Order of memory operations as in oneshot_lines.cu: each line carries its epoch, no fence, no flag, no
// barrier between ranks. A result's line follows from the contributions' lines by data dependence, and
// lands in a place of its own. In place is safe: a step is read by its warp in 1 and 2 before that warp
// writes it in 2 and 3, and peers write inboxes alone.
// A bank is free again after the next call (workspace.h): every rank needs a result of slice 0 there,
// which rank 0 makes from contributions of all; slice 0 is empty only where count is 0.
#include "line_packet.cuh"

namespace ringallreduce {
namespace {

template <typename T, int kMost, bool kAnyOp>
__global__ void __launch_bounds__(line_threads(kMost))
    twoshot_lines(const __grid_constant__ Call call) {
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch);
  const uint32_t ranks = kMost == 2 ? 2 : args.ranks, rank = args.rank;
  const uint64_t bytes = args.count * sizeof(T), steps = (bytes + kStepBytes - 1) / kStepBytes;
  const uint64_t slice = (steps + ranks - 1) / ranks;
  const Span in(args.input, bytes), out(args.outputs[rank], bytes);
  const uint64_t bank = call.layout.lines + bank_of(epoch) * ranks * call.layout.lines_source;
  const uint64_t mine = rank * call.layout.lines_source;
  const uint32_t others = ((1u << ranks) - 1) & ~(1u << rank);
  const float scale = scale_of(args);
  const LineThread me;
  Watch watch(epoch);

  const uint64_t warps = static_cast<uint64_t>(gridDim.x) * (blockDim.x / 32);
  for (uint64_t s = static_cast<uint64_t>(threadIdx.x / 32) * gridDim.x + blockIdx.x; s < slice;
       s += warps) {
    LinePart part_of[kMost];
#pragma unroll
    for (uint32_t q = 0; q < kMost; ++q) {
      if (q < ranks && q * slice + s < steps) part_of[q] = me.load(in, q * slice + s, epoch);
    }
#pragma unroll
    for (uint32_t q = 0; q < kMost; ++q) {
      if (q < ranks && q != rank && q * slice + s < steps) {
        me.push(part(call, q, bank) + mine + s * kStepLineBytes, part_of[q]);
      }
    }
    if (rank * slice + s < steps) {
      LinePart own = part_of[0];
#pragma unroll
      for (uint32_t q = 1; q < kMost; ++q) {
        own = pick(q == rank, part_of[q], own);
      }
      if (!wait_lines<kMost>(call, me, watch, part(call, rank, bank) + s * kStepLineBytes, others,
                             epoch, kContribution, s, part_of)) {
        break;
      }
      Sum<T, 4, kAnyOp> first, second;
#pragma unroll
      for (uint32_t q = 0; q < kMost; ++q) {
        if (q >= ranks) continue;
        uint32_t x[4], y[4];
        me.unwrap(pick(q == rank, own, part_of[q]), x, y);
        first.take(args.op, q == 0, x);
        second.take(args.op, q == 0, y);
      }
      uint32_t x[4], y[4];
      first.give(scale, x);
      second.give(scale, y);
      const LinePart result = me.wrap(x, y, epoch);
#pragma unroll
      for (uint32_t q = 0; q < kMost; ++q) {
        if (q < ranks && q != rank) {
          me.push(part(call, q, bank) + mine + (slice + s) * kStepLineBytes, result);
        }
      }
      me.store(out, rank * slice + s, x, y);
    }
    uint32_t wanted = 0;
#pragma unroll
    for (uint32_t q = 0; q < kMost; ++q) {
      if (q < ranks && q != rank && q * slice + s < steps) wanted |= 1u << q;
    }
    if (wanted == 0) continue;
    if (!wait_lines<kMost>(call, me, watch, part(call, rank, bank) + (slice + s) * kStepLineBytes,
                           wanted, epoch, kResult, s, part_of)) {
      break;
    }
#pragma unroll
    for (uint32_t q = 0; q < kMost; ++q) {
      if (!(wanted >> q & 1u)) continue;
      uint32_t x[4], y[4];
      me.unwrap(part_of[q], x, y);
      me.store(out, q * slice + s, x, y);
    }
  }
  finish(header, epoch);
}

}  // namespace

const void* twoshot_lines_kernel(const Args& args) {
  return instance_for(args, []<typename T, int kMost, bool kAnyOp>() {
    return reinterpret_cast<const void*>(&twoshot_lines<T, kMost, kAnyOp>);
  });
}

}  // namespace ringallreduce
