// One-shot by words, for small payloads. All-reduce: each rank pushes its input to every other and sums
// what arrives, in rank order. Reduce-scatter: it pushes to each the slice that is theirs. All-gather: it
// stores what arrives side by side. Started by launch_oneshot().
//
// Order of memory operations. A pack is 8 bytes: two 64-bit words of 4 bytes of data and the epoch.
//   rank A:  st.relaxed.sys.v2.b64 inbox(B)[A][i] = {data0:e, data1:e}
//   rank B:  ld.relaxed.sys.v2.b64 inbox(B)[A][i] until both words hold e
// PTX makes each 64-bit element of the vector one access, so data and epoch of a word are never torn
// apart, and the two words need no order. No fence, no flag, no barrier between ranks. Banks alternate
// by the epoch's parity; workspace.h says why a bank is free again.
//
// Litmus (A, B on two GPUs; x one word, 0 before):  A: st.relaxed.sys x = d:e  |  B: r = ld.relaxed.sys x
//   forbidden: r.epoch == e and r.data != d. One 64-bit access: single-copy atomic. Verdict: safe.
// Mutations that break it: the epoch does not advance (5), banks do not alternate (6), 32-bit elements
// (the vector is four accesses then).
#include "call.cuh"

namespace ringallreduce {
namespace {

constexpr int kThreads = 512;

template <Kind kKind, typename T, int kMost, bool kAnyOp>
__global__ void __launch_bounds__(kThreads, 1) oneshot_words(const __grid_constant__ Call call) {
  const Args& args = call.args;
  Header* header = header_of(call);
  const uint32_t epoch = next_epoch(header->epoch);
  const uint32_t ranks = kMost == 2 ? 2 : args.ranks, rank = args.rank;
  const uint64_t bytes = args.count * sizeof(T), packs = (bytes + 7) / 8;
  const Span in = input_for<kKind>(args, rank, bytes), out(args.outputs[rank], bytes);
  const uint64_t bank = call.layout.words + bank_of(epoch) * ranks * call.layout.words_source;
  const uint64_t tag = static_cast<uint64_t>(epoch) << 32;
  const float scale = scale_of(args);
  const char* inbox = part(call, rank, bank);
  Watch watch(epoch);

  const uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
  bool left = false;
  for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < packs;
       i += stride) {
    uint32_t mine[2];
    in.load(i * 8, mine);
#pragma unroll
    for (uint32_t r = 0; r < kMost; ++r) {
      if (r < ranks && r != rank) {
        uint32_t theirs[2] = {mine[0], mine[1]};
        if constexpr (kKind == Kind::kReduceScatter) {
          input_for<kKind>(args, r, bytes).load(i * 8, theirs);
        }
        store_words(part(call, r, bank) + rank * call.layout.words_source + i * 16, tag | theirs[0],
                    tag | theirs[1]);
      }
    }
    uint64_t low[kMost], high[kMost];
    uint32_t pending = ((1u << ranks) - 1) & ~(1u << rank);
    watch.restart();
    while (true) {
#pragma unroll
      for (uint32_t s = 0; s < kMost; ++s) {
        if (pending >> s & 1u) {
          load_words(inbox + s * call.layout.words_source + i * 16, low[s], high[s]);
        }
      }
      uint32_t seen = 0;
#pragma unroll
      for (uint32_t s = 0; s < kMost; ++s) {
        if (!(pending >> s & 1u)) continue;
        const auto a = static_cast<uint32_t>(low[s] >> 32),
                   b = static_cast<uint32_t>(high[s] >> 32);
        if (a == epoch && b == epoch) {
          pending &= ~(1u << s);
        } else {
          seen = a == epoch ? b : a;
        }
      }
      if (pending == 0) break;
      // `seen` is of the highest missing rank.
      if (watch.leave(args, kContribution, 31 - __clz(pending), i, epoch, seen)) {
        left = true;
        break;
      }
    }
    if (left) break;
    Sum<T, 2, kAnyOp> sum;
#pragma unroll
    for (uint32_t s = 0; s < kMost; ++s) {
      if (s >= ranks) continue;
      const uint32_t words[2] = {s == rank ? mine[0] : static_cast<uint32_t>(low[s]),
                                 s == rank ? mine[1] : static_cast<uint32_t>(high[s])};
      if constexpr (kKind == Kind::kAllGather) {
        part_of(args, rank, s, bytes).store(i * 8, words);
      } else {
        sum.take(args.op, s == 0, words);
      }
    }
    if constexpr (kKind != Kind::kAllGather) {
      uint32_t result[2];
      sum.give(scale, result);
      out.store(i * 8, result);
    }
  }
  finish(header, epoch);
}

}  // namespace

const void* oneshot_words_kernel(const Args& args) {
  if (args.kind == Kind::kReduceScatter) {
    return sum_instance_for(args, []<typename T, int kMost>() {
      return reinterpret_cast<const void*>(&oneshot_words<Kind::kReduceScatter, T, kMost, false>);
    });
  }
  if (args.kind == Kind::kAllGather) {
    return ranks_instance_for(args, []<int kMost>() {
      return reinterpret_cast<const void*>(&oneshot_words<Kind::kAllGather, __half, kMost, false>);
    });
  }
  return instance_for(args, []<typename T, int kMost, bool kAnyOp>() {
    return reinterpret_cast<const void*>(&oneshot_words<Kind::kAllReduce, T, kMost, kAnyOp>);
  });
}

}  // namespace ringallreduce
