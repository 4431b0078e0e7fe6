// What a kernel gets, and the choice of its instance by type, ranks and op; used by every kernel file.
#pragma once

#include "element.cuh"
#include "watch.cuh"

namespace ringallreduce {

struct Call {
  Args args;
  Layout layout;
};

/// Largest CTA of a kernel of lines: with more threads the registers do not hold a step of kMost ranks.
constexpr uint32_t line_threads(int kMost) { return kMost == 8 ? 256 : 512; }
/// CTA of a kernel of chunks, for the same reason.
constexpr uint32_t chunk_threads(int kMost) { return kMost == 2 ? 1024 : 512; }

/// f.operator()<T, kMost, kAnyOp>() for the call: arrays have room for kMost ranks; sum and average
/// have instances of their own.
template <typename F>
const void* instance_for(const Args& args, F f) {
  const auto of_type = [&]<typename T>() -> const void* {
    if (args.op != Op::kSum && args.op != Op::kAvg) return f.template operator()<T, 8, true>();
    if (args.ranks == 2) return f.template operator()<T, 2, false>();
    if (args.ranks <= 4) return f.template operator()<T, 4, false>();
    return f.template operator()<T, 8, false>();
  };
  switch (args.type) {
    case Type::kF16:
      return of_type.template operator()<__half>();
    case Type::kBF16:
      return of_type.template operator()<__nv_bfloat16>();
    default:
      return of_type.template operator()<float>();
  }
}

/// f.operator()<T, kMost>() for sums and averages alone: reduce-scatter.
template <typename F>
const void* sum_instance_for(const Args& args, F f) {
  if (args.op != Op::kSum && args.op != Op::kAvg) return nullptr;
  return instance_for(args, [&]<typename T, int kMost, bool kAnyOp>() -> const void* {
    if constexpr (kAnyOp) return nullptr;
    return f.template operator()<T, kMost>();
  });
}

/// f.operator()<kMost>(): all-gather moves bytes.
template <typename F>
const void* ranks_instance_for(const Args& args, F f) {
  if (args.ranks == 2) return f.template operator()<2>();
  if (args.ranks <= 4) return f.template operator()<4>();
  return f.template operator()<8>();
}

/// What rank `to` gets of this rank's input: the slice `to` of a reduce-scatter, else all of it.
template <Kind kKind>
__device__ __forceinline__ Span input_for(const Args& args, uint32_t to, uint64_t bytes) {
  const char* at = static_cast<const char*>(args.input);
  return Span(kKind == Kind::kReduceScatter ? at + to * bytes : at, bytes);
}

/// Where the part of rank `from` goes in the output of rank `to`, of an all-gather.
__device__ __forceinline__ Span part_of(const Args& args, uint32_t to, uint32_t from,
                                        uint64_t bytes) {
  return Span(static_cast<char*>(args.outputs[to]) + from * bytes, bytes);
}

/// The part of `rank`'s workspace at `offset`, as the calling rank reaches it.
__device__ __forceinline__ char* part(const Call& call, uint32_t rank, uint64_t offset) {
  return static_cast<char*>(call.args.workspaces[rank]) + offset;
}

__device__ __forceinline__ Header* header_of(const Call& call) {
  return reinterpret_cast<Header*>(part(call, call.args.rank, 0));
}

// One a kernel file; null for a format that the file does not have.
const void* oneshot_words_kernel(const Args& args);
const void* oneshot_lines_kernel(const Args& args);
const void* twoshot_lines_kernel(const Args& args);
const void* twoshot_chunks_kernel(const Args& args);
const void* gather_chunks_kernel(const Args& args);
const void* ring_kernel(const Args& args);

}  // namespace ringallreduce
