// Lines of 128 bytes with their epoch inside: a warp moves a step of 960 bytes, each group of 8 threads
// 240 of them in two lines. Used by oneshot_lines.cu and twoshot_lines.cu.
//
//   group's bytes   0..111 in line 0, 112..223 in line 1: 16 a thread, threads 0..6
//                   224..231 in line 0, 232..239 in line 1: thread 7, with the epoch twice after them
//
// A step in an inbox is 1024 bytes: line 0 of the four groups, then line 1 of the four groups, so a warp
// stores and loads 512 bytes at a time and every access is 16-byte aligned.
//
// That the epoch in thread 7's part means that the other seven parts are there is not in the text of
// PTX: it rests on the hardware, where the stores of a warp to one 128-byte line travel as one
// transaction, and loads likewise, over NVLink on sm_70 and later (NCCL's LL128 rests on the same).
// PTX makes not even the 16 bytes of thread 7 one access. The tests compare every bit for that reason.
// Mutations that break it: 5 and 6.
#pragma once

#include "call.cuh"

namespace ringallreduce {

/// A thread's part of a step.
struct LinePart {
  uint4 a, b;
};

/// By value: a choice between places would put both into local memory.
__device__ __forceinline__ LinePart pick(bool first, LinePart a, LinePart b) {
  const auto of = [first](uint4 x, uint4 y) {
    return make_uint4(first ? x.x : y.x, first ? x.y : y.y, first ? x.z : y.z, first ? x.w : y.w);
  };
  return {of(a.a, b.a), of(a.b, b.b)};
}

struct LineThread {
  uint32_t lane, j, group;
  __device__ __forceinline__ LineThread()
      : lane(threadIdx.x & 31u), j(lane & 7u), group(lane >> 3) {}

  /// Where this thread's first and second 16 bytes of payload are in a step; thread 7 has one.
  __device__ __forceinline__ uint32_t first() const {
    return group * 240 + j * 16 + (j == 7 ? 112 : 0);
  }
  __device__ __forceinline__ uint32_t second() const { return group * 240 + 112 + j * 16; }

  __device__ __forceinline__ LinePart load(const Span& in, uint64_t step, uint32_t epoch) const {
    uint32_t x[4], y[4] = {0, 0, 0, 0};
    in.load(step * kStepBytes + first(), x);
    if (j < 7) in.load(step * kStepBytes + second(), y);
    return wrap(x, y, epoch);
  }

  __device__ __forceinline__ LinePart wrap(const uint32_t (&x)[4], const uint32_t (&y)[4],
                                           uint32_t epoch) const {
    if (j == 7) return {make_uint4(x[0], x[1], epoch, epoch), make_uint4(x[2], x[3], epoch, epoch)};
    return {make_uint4(x[0], x[1], x[2], x[3]), make_uint4(y[0], y[1], y[2], y[3])};
  }

  __device__ __forceinline__ void unwrap(const LinePart& v, uint32_t (&x)[4],
                                         uint32_t (&y)[4]) const {
    const bool last = j == 7;
    x[0] = v.a.x, x[1] = v.a.y;
    x[2] = last ? v.b.x : v.a.z, x[3] = last ? v.b.y : v.a.w;
    y[0] = v.b.x, y[1] = v.b.y, y[2] = v.b.z, y[3] = v.b.w;
  }

  __device__ __forceinline__ void store(const Span& out, uint64_t step, const uint32_t (&x)[4],
                                        const uint32_t (&y)[4]) const {
    out.store(step * kStepBytes + first(), x);
    if (j < 7) out.store(step * kStepBytes + second(), y);
  }

  /// To and from an inbox; `at` is the step's 1024 bytes.
  __device__ __forceinline__ void push(char* at, const LinePart& v) const {
    store_line(at + lane * 16, v.a);
    store_line(at + 512 + lane * 16, v.b);
  }
  __device__ __forceinline__ LinePart look(const char* at) const {
    return {load_line(at + lane * 16), load_line(at + 512 + lane * 16)};
  }
  __device__ __forceinline__ bool missing(const LinePart& v, uint32_t epoch) const {
    return j == 7 && (v.a.z != epoch || v.a.w != epoch || v.b.z != epoch || v.b.w != epoch);
  }
};

/// By a whole warp: waits until the step has come from every rank in `pending`; `inbox` is the step of
/// source 0. False: the warp must leave.
template <int kMost>
__device__ __forceinline__ bool wait_lines(const Call& call, const LineThread& me, Watch& watch,
                                           const char* inbox, uint32_t pending, uint32_t epoch,
                                           Phase phase, uint64_t step, LinePart (&got)[kMost]) {
  watch.restart();
  while (true) {
#pragma unroll
    for (uint32_t s = 0; s < kMost; ++s) {
      if (pending >> s & 1u) got[s] = me.look(inbox + s * call.layout.lines_source);
    }
    uint32_t seen = 0;
#pragma unroll
    for (uint32_t s = 0; s < kMost; ++s) {
      if (!(pending >> s & 1u)) continue;
      if (__any_sync(~0u, me.missing(got[s], epoch))) {
        seen = got[s].a.z != epoch ? got[s].a.z : got[s].b.z;
      } else {
        pending &= ~(1u << s);
      }
    }
    if (pending == 0) return true;
    // Thread 7 of each group holds what an epoch is compared with.
    const bool leaves =
        me.j == 7 && watch.leave(call.args, phase, 31 - __clz(pending), step, epoch, seen);
    if (__any_sync(~0u, leaves)) return false;
  }
}

}  // namespace ringallreduce
