// Ranks of the kernel checks: a stream, buffers, a workspace and a control record each; on several GPUs
// or several on one. Used by all files of this folder. Nothing here waits without a limit.
#pragma once

#include <cuda_runtime.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "launch.h"
#include "workspace.h"

namespace rig {

using namespace ringallreduce;

#define RIG_CHECK(call)                                                                       \
  do {                                                                                        \
    const cudaError_t status_ = (call);                                                       \
    if (status_ != cudaSuccess) {                                                             \
      printf("FATAL %s:%d %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status_)); \
      fflush(stdout);                                                                         \
      _exit(3);                                                                               \
    }                                                                                         \
  } while (0)

inline size_t element(Type type) { return type == Type::kF32 ? 4 : 2; }
inline const char* name(Type type) {
  return type == Type::kF32 ? "f32" : type == Type::kF16 ? "f16" : "bf16";
}
inline const char* name(Op op) {
  static const char* const names[] = {"sum", "avg", "max", "min", "prod"};
  return names[static_cast<int>(op)];
}

enum class Kernel { kOneshotWords, kOneshotLines, kTwoshotLines, kTwoshotChunks, kRing };
inline const char* name(Kernel kernel) {
  static const char* const names[] = {"oneshot-words", "oneshot-lines", "twoshot-lines",
                                      "twoshot-chunks", "ring"};
  return names[static_cast<int>(kernel)];
}
constexpr Kernel kKernels[] = {Kernel::kOneshotWords, Kernel::kOneshotLines, Kernel::kTwoshotLines,
                               Kernel::kTwoshotChunks, Kernel::kRing};
constexpr int kKernelCount = 5;

inline const char* name(Kind kind) {
  static const char* const names[] = {"all-reduce", "reduce-scatter", "all-gather"};
  return names[static_cast<int>(kind)];
}
constexpr Kind kKinds[] = {Kind::kAllReduce, Kind::kReduceScatter, Kind::kAllGather};
/// Whether there is such a kernel.
inline bool exists(Kernel kernel, Kind kind) {
  return kind == Kind::kAllReduce || (kernel != Kernel::kTwoshotLines && kernel != Kernel::kRing);
}

struct Shape {
  uint32_t ctas = 1, threads = 256, chunk_bytes = 65536, window = 4;
  uint32_t stages = 8, lag = 4;  // ring; its tiles are of chunk_bytes up to 16 KiB, its window is the
                                 // least and `window` more
};

struct Rank {
  int device = 0;
  cudaStream_t stream = nullptr;
  char* in = nullptr;
  char* out = nullptr;
  char* workspace = nullptr;
  Control* control = nullptr;
};

class Rig {
 public:
  /// `devices` holds one entry a rank; an entry may come twice. `bytes`: of each buffer.
  Rig(const std::vector<int>& devices, const Capacity& capacity, size_t bytes)
      : capacity_(capacity), bytes_(bytes), ranks_(devices.size()) {
    workspace_ = workspace_bytes(capacity, static_cast<uint32_t>(size()));
    for (size_t i = 0; i < size(); ++i) {
      Rank& r = ranks_[i];
      r.device = devices[i];
      use(i);
      for (int peer : devices) {
        if (peer == r.device) continue;
        const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
        if (status == cudaErrorPeerAccessAlreadyEnabled) {
          cudaGetLastError();
        } else {
          RIG_CHECK(status);
        }
      }
      RIG_CHECK(cudaStreamCreateWithFlags(&r.stream, cudaStreamNonBlocking));
      RIG_CHECK(cudaMalloc(&r.in, bytes + 256));
      RIG_CHECK(cudaMalloc(&r.out, bytes + 256));
      RIG_CHECK(cudaMalloc(&r.workspace, workspace_));
      RIG_CHECK(
          cudaHostAlloc(&r.control, sizeof(Control), cudaHostAllocPortable | cudaHostAllocMapped));
    }
    reset();
  }
  ~Rig() {
    for (size_t i = 0; i < size(); ++i) {
      use(i);
      cudaDeviceSynchronize();
      cudaStreamDestroy(ranks_[i].stream);
      cudaFree(ranks_[i].in);
      cudaFree(ranks_[i].out);
      cudaFree(ranks_[i].workspace);
      cudaFreeHost(ranks_[i].control);
    }
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  size_t size() const { return ranks_.size(); }
  size_t bytes() const { return bytes_; }
  const Capacity& capacity() const { return capacity_; }
  Rank& operator[](size_t i) { return ranks_[i]; }
  void use(size_t i) { RIG_CHECK(cudaSetDevice(ranks_[i].device)); }

  /// Ranks on the fullest GPU.
  int sharing() const {
    int most = 0;
    for (const Rank& a : ranks_) {
      int n = 0;
      for (const Rank& b : ranks_) n += a.device == b.device;
      most = n > most ? n : most;
    }
    return most;
  }

  /// Nothing may run. All words of the protocols as at the start; `epoch`, `sequence`: of the last call.
  void reset(uint32_t epoch = 0, uint64_t sequence = 0) {
    const Header header{epoch, 0, 0, 0, sequence};
    for (size_t i = 0; i < size(); ++i) {
      use(i);
      RIG_CHECK(cudaMemset(ranks_[i].workspace, 0,
                           protocol_bytes(capacity_, static_cast<uint32_t>(size()))));
      RIG_CHECK(cudaMemcpy(ranks_[i].workspace, &header, sizeof header, cudaMemcpyHostToDevice));
      RIG_CHECK(cudaDeviceSynchronize());
      memset(ranks_[i].control, 0, sizeof(Control));
    }
  }

  Args args(size_t rank, Kernel kernel, Type type, Op op, uint64_t count, const Shape& shape,
            Kind kind = Kind::kAllReduce) {
    Args a{};
    a.kind = kind;
    a.rank = static_cast<uint32_t>(rank);
    a.ranks = static_cast<uint32_t>(size());
    a.type = type;
    a.op = op;
    a.format = kernel == Kernel::kOneshotWords    ? Format::kWords
               : kernel == Kernel::kTwoshotChunks ? Format::kChunks
               : kernel == Kernel::kRing          ? Format::kTiles
                                                  : Format::kLines;
    a.count = count;
    a.input = ranks_[rank].in;
    for (size_t i = 0; i < size(); ++i) {
      a.outputs[i] = ranks_[i].out;
      a.workspaces[i] = ranks_[i].workspace;
    }
    if (kind == Kind::kAllGather) {
      a.op = Op::kSum;
      a.type = Type::kF16;
      a.count = count * element(type) / 2;
    }
    a.control = ranks_[rank].control;
    a.limit_ns = limit_ns;
    a.capacity = capacity_;
    a.ctas = shape.ctas;
    const uint32_t most = most_threads(a);
    a.threads = kernel == Kernel::kTwoshotChunks ? most : std::min(shape.threads, most);
    a.chunk_bytes = shape.chunk_bytes;
    a.window = shape.window;
    a.stages = shape.stages;
    a.lag = shape.lag;
    if (kernel == Kernel::kRing) {
      a.threads = kRingThreads;
      a.chunk_bytes = std::min({shape.chunk_bytes, capacity_.tile_bytes,
                                (220u << 10) / (shape.stages * 3 / 2) / 128 * 128});
      a.window = least_window(a.ranks, shape.lag) + shape.window;
    }
    return a;
  }

  static bool oneshot(Kernel k) { return k == Kernel::kOneshotWords || k == Kernel::kOneshotLines; }
  static const char* explain(Kernel k, const Args& a) {
    return k == Kernel::kRing ? explain_ring(a) : oneshot(k) ? explain_oneshot(a) : explain_twoshot(a);
  }
  /// The device must be the rank's.
  static cudaError_t start(Kernel k, const Args& a, cudaStream_t stream) {
    if (k == Kernel::kRing) return launch_ring(a, stream);
    return oneshot(k) ? launch_oneshot(a, stream) : launch_twoshot(a, stream);
  }

  /// CTAs of this shape that every rank may start so that all are resident at once. Loads the kernel.
  uint32_t most_ctas(Kernel k, const Args& a) {
    int least = 1 << 30;
    for (size_t i = 0; i < size(); ++i) {
      use(i);
      int each = 0, sms = 0;
      RIG_CHECK(k == Kernel::kRing ? resident_ring(a, &each)
                : oneshot(k)       ? resident_oneshot(a, &each)
                                   : resident_twoshot(a, &each));
      RIG_CHECK(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, ranks_[i].device));
      least = std::min(least, each * (sms / sharing()));
    }
    return static_cast<uint32_t>(least);
  }

  /// False after `seconds`; the streams are looked at, never waited for.
  bool wait(double seconds) {
    const auto start = std::chrono::steady_clock::now();
    for (size_t i = 0; i < size(); ++i) {
      use(i);
      while (true) {
        const cudaError_t status = cudaStreamQuery(ranks_[i].stream);
        if (status == cudaSuccess) break;
        if (status != cudaErrorNotReady) RIG_CHECK(status);
        if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() >
            seconds) {
          return false;
        }
      }
    }
    return true;
  }

  /// After a wait that must end; a kernel that ignores its deadline ends the program.
  void finish(const char* what, double seconds = 20) {
    seconds = std::max(seconds, 2e-9 * static_cast<double>(limit_ns));
    if (wait(seconds)) return;
    printf("FATAL %s: streams still run after %.0f s although every kernel has a deadline\n", what,
           seconds);
    print_control();
    fflush(stdout);
    _exit(4);
  }

  /// True: no kernel left early.
  bool clean() const {
    for (const Rank& r : ranks_) {
      if (r.control->status != 0) return false;
    }
    return true;
  }

  void print_control() const {
    for (size_t i = 0; i < ranks_.size(); ++i) {
      const Control& c = *ranks_[i].control;
      if (c.status == 0) continue;
      printf(
          "    rank %zu left: status %u peer %u epoch %u chunk %u phase %u expected %08x seen %08x"
          " after %u us\n",
          i, c.status, c.peer, c.epoch, c.chunk, c.phase, c.expected, c.seen, c.waited_us);
    }
  }

  uint64_t limit_ns = (getenv("LIMIT_MS") ? strtoull(getenv("LIMIT_MS"), nullptr, 10) : 500) * 1'000'000;

 private:
  Capacity capacity_;
  size_t bytes_, workspace_ = 0;
  std::vector<Rank> ranks_;
};

struct Tally {
  int passed = 0, failed = 0;
  void note(bool ok, const std::string& what) {
    (ok ? passed : failed)++;
    if (!ok) printf("FAIL %s\n", what.c_str());
    fflush(stdout);
  }
};

void run_fuzz(Rig& rig, Tally& tally, uint64_t seed, double seconds);
/// Reduce-scatter and all-gather: edges, then fuzz.
void run_split(Rig& rig, Tally& tally, uint64_t seed, double seconds);
void run_edges(Rig& rig, Tally& tally);
void run_replay(Rig& rig, Tally& tally);
void run_faults(Rig& rig, Tally& tally);
/// A call of every rank after a reset gives the right sums.
bool works(Rig& rig, Kernel kernel, Kind kind);
/// A rank that stops half-way: the second wait of the kernels that have one.
void run_phases(Rig& rig, Tally& tally);
/// Collectives of all kinds, products and replays mixed, `operations` of them.
void run_soak(Rig& rig, Tally& tally, uint64_t seed, uint64_t operations);
/// Another kernel holds SMs before a call.
void run_held(Rig& rig, Tally& tally);
/// Buffers of `elements` a rank.
void run_huge(Rig& rig, Tally& tally, uint64_t elements);
/// Counts to `elements` by their logarithm, any bits, compared on the device.
void run_wide(Rig& rig, Tally& tally, uint64_t seed, double seconds, uint64_t elements);
void run_timing(Rig& rig, Tally& tally, double seconds);

}  // namespace rig
