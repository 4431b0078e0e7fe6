// See launch.h: checks the arguments, picks the instance, launches it.
#include "call.cuh"

namespace ringallreduce {
namespace {

uint64_t element(Type type) { return type == Type::kF32 ? 4 : 2; }

uint64_t steps_of(uint64_t bytes) { return (bytes + kStepBytes - 1) / kStepBytes; }

const char* explain_common(const Args& a) {
  if (a.ranks < 2 || a.ranks > kMostRanks) return "ranks must be 2 to 8";
  if (a.rank >= a.ranks) return "rank must be below ranks";
  if (a.type > Type::kBF16) return "unknown type";
  if (a.op > Op::kProd) return "unknown op";
  if (a.kind > Kind::kAllGather) return "unknown kind";
  if (a.kind == Kind::kReduceScatter && a.op > Op::kAvg) return "reduce-scatter sums or averages";
  if (a.kind == Kind::kAllGather && (a.type != Type::kF16 || a.op != Op::kSum)) {
    return "all-gather counts units of kF16, with kSum";
  }
  if (a.count > (uint64_t{1} << 40)) return "count is above 2^40";
  if (a.control == nullptr) return "no control record";
  if (a.limit_ns == 0) return "limit_ns is 0";
  if (a.ctas == 0 || a.ctas > 65535) return "ctas must be 1 to 65535";
  if (a.threads == 0 || a.threads % 32 != 0 || a.threads > most_threads(a)) {
    return "threads must be a multiple of 32 that the format allows";
  }
  if (a.capacity.chunk_bytes % 128 != 0) return "capacity.chunk_bytes must be a multiple of 128";
  for (uint32_t r = 0; r < a.ranks; ++r) {
    if (a.workspaces[r] == nullptr) return "a workspace is missing";
    if (reinterpret_cast<uintptr_t>(a.workspaces[r]) % 128 != 0) {
      return "workspaces must be aligned to 128 bytes";
    }
  }
  if (a.count == 0) return nullptr;
  if (a.input == nullptr || a.outputs[a.rank] == nullptr) return "a buffer is missing";
  if ((reinterpret_cast<uintptr_t>(a.input) | reinterpret_cast<uintptr_t>(a.outputs[a.rank])) % 2) {
    return "buffers must be aligned to 2 bytes";
  }
  return nullptr;
}

cudaError_t start(const void* kernel, const Args& args, cudaStream_t stream, size_t shared = 0) {
  if (args.count == 0) return cudaSuccess;
  Call call{args, layout_of(args.capacity, args.ranks)};
  void* parameters[] = {&call};
  return cudaLaunchKernel(kernel, dim3(args.ctas), dim3(args.threads), parameters, shared, stream);
}

const void* oneshot_of(const Args& a) {
  return a.format == Format::kWords ? oneshot_words_kernel(a) : oneshot_lines_kernel(a);
}

const void* twoshot_of(const Args& a) {
  if (a.kind == Kind::kAllGather) return gather_chunks_kernel(a);
  return a.format == Format::kChunks ? twoshot_chunks_kernel(a) : twoshot_lines_kernel(a);
}

uint32_t ring_memory(const Args& a) { return (a.stages + a.stages / 2) * a.chunk_bytes; }

cudaError_t resident(const void* kernel, const Args& args, int* ctas_per_sm, size_t shared = 0) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(ctas_per_sm, kernel,
                                                       static_cast<int>(args.threads), shared);
}

}  // namespace

uint32_t most_threads(const Args& a) {
  if (a.format == Format::kWords) return 512;
  const bool any = a.op != Op::kSum && a.op != Op::kAvg;
  const int most = a.ranks <= 2 && !any ? 2 : a.ranks <= 4 && !any ? 4 : 8;
  if (a.format == Format::kChunks) return chunk_threads(most);
  if (a.format == Format::kTiles) return kRingThreads;
  return most == 2 ? 1024 : line_threads(most);
}

uint64_t workspace_bytes(const Capacity& capacity, uint32_t ranks) {
  return layout_of(capacity, ranks).bytes;
}

uint64_t protocol_bytes(const Capacity& capacity, uint32_t ranks) {
  return layout_of(capacity, ranks).chunks;
}

const char* explain_oneshot(const Args& a) {
  if (const char* why = explain_common(a)) return why;
  const uint64_t bytes = a.count * element(a.type);
  if (a.format == Format::kWords) {
    return bytes > a.capacity.words_bytes ? "count is above the workspace's words" : nullptr;
  }
  if (a.format != Format::kLines) return "one-shot travels as words or lines";
  return bytes > a.capacity.lines_bytes ? "count is above the workspace's lines" : nullptr;
}

const char* explain_twoshot(const Args& a) {
  if (const char* why = explain_common(a)) return why;
  const uint64_t bytes = a.count * element(a.type);
  if (a.kind != Kind::kAllReduce && a.format != Format::kChunks) {
    return "only an all-reduce has a two-shot by lines";
  }
  if (a.format == Format::kLines) {
    if (a.threads > 512) return "threads must be a multiple of 32 up to 512";
    const uint64_t slice = (steps_of(bytes) + a.ranks - 1) / a.ranks;
    return 2 * slice > steps_of(a.capacity.lines_bytes) ? "count is above the workspace's lines"
                                                        : nullptr;
  }
  if (a.format != Format::kChunks) return "two-shot travels as lines or chunks";
  if (a.threads != most_threads(a)) return "chunks need as many threads as most_threads() says";
  if (a.chunk_bytes == 0 || a.chunk_bytes % 128 != 0 || a.chunk_bytes > a.capacity.chunk_bytes) {
    return "chunk_bytes must be a multiple of 128 up to the capacity's";
  }
  if (a.window == 0 || uint64_t{a.ctas} * a.window > a.capacity.slots) {
    return "ctas * window must be 1 to capacity.slots";
  }
  if (a.count == 0) return nullptr;
  for (uint32_t r = 0; r < a.ranks; ++r) {
    if (a.outputs[r] == nullptr) return "chunks need the outputs of all ranks";
    if (reinterpret_cast<uintptr_t>(a.outputs[r]) % 2) return "buffers must be aligned to 2 bytes";
  }
  return nullptr;
}

uint32_t least_window(uint32_t ranks, uint32_t lag) {
  // Credits come back by quarters of the window.
  return (((ranks - 1) * (lag + 1) + 1) * 4 + 2) / 3;
}

const char* explain_ring(const Args& a) {
  if (const char* why = explain_common(a)) return why;
  if (a.kind != Kind::kAllReduce) return "the ring is an all-reduce";
  if (a.format != Format::kTiles) return "the ring travels as tiles";
  if (a.threads != kRingThreads) return "the ring needs 384 threads";
  if (a.stages != 4 && a.stages != 8 && a.stages != 16) return "stages must be 4, 8 or 16";
  if (a.lag == 0 || a.lag > 1024) return "lag must be 1 to 1024";
  if (a.chunk_bytes == 0 || a.chunk_bytes % 128 != 0 || a.chunk_bytes > a.capacity.tile_bytes) {
    return "a tile must be a multiple of 128 bytes up to the capacity's";
  }
  if (ring_memory(a) > 220u << 10) return "stages * tile do not fit shared memory";
  if (a.ctas > a.capacity.ring_ctas) return "ctas must be 1 to capacity.ring_ctas";
  if (a.window < least_window(a.ranks, a.lag)) return "window is below least_window()";
  if (uint64_t{a.ctas} * a.window > a.capacity.tiles) {
    return "ctas * window must be up to capacity.tiles";
  }
  if (a.count == 0) return nullptr;
  uintptr_t all = reinterpret_cast<uintptr_t>(a.input);
  for (uint32_t r = 0; r < a.ranks; ++r) {
    if (a.outputs[r] == nullptr) return "the ring needs the outputs of all ranks";
    all |= reinterpret_cast<uintptr_t>(a.outputs[r]);
  }
  return all % 16 != 0 ? "the ring needs buffers aligned to 16 bytes" : nullptr;
}

cudaError_t launch_oneshot(const Args& args, cudaStream_t stream) {
  if (explain_oneshot(args) != nullptr) return cudaErrorInvalidValue;
  return start(oneshot_of(args), args, stream);
}

cudaError_t launch_twoshot(const Args& args, cudaStream_t stream) {
  if (explain_twoshot(args) != nullptr) return cudaErrorInvalidValue;
  return start(twoshot_of(args), args, stream);
}

cudaError_t launch_ring(const Args& args, cudaStream_t stream) {
  if (explain_ring(args) != nullptr) return cudaErrorInvalidValue;
  return start(ring_kernel(args), args, stream, ring_memory(args));
}

cudaError_t resident_oneshot(const Args& args, int* ctas_per_sm) {
  return resident(oneshot_of(args), args, ctas_per_sm);
}

cudaError_t resident_twoshot(const Args& args, int* ctas_per_sm) {
  return resident(twoshot_of(args), args, ctas_per_sm);
}

// Shared memory beyond 48 KiB is asked for by kernel and device; this comes before every launch.
cudaError_t resident_ring(const Args& args, int* ctas_per_sm) {
  const void* kernel = ring_kernel(args);
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 220 << 10);
  if (status != cudaSuccess) return status;
  return resident(kernel, args, ctas_per_sm, ring_memory(args));
}

}  // namespace ringallreduce
