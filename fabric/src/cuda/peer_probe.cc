// See peer_probe.h.
#include "cuda/peer_probe.h"

#include <cstring>
#include <string>

#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace fabric::cuda {
namespace {

constexpr size_t kLargeBytes = size_t{32} << 20;
constexpr size_t kPatternBytes = size_t{256} << 10;
constexpr int kRounds = 4;

using State = PeerVerdict::State;

PeerVerdict untested(std::string reason) { return {State::kUntested, 0, std::move(reason), {}}; }

/// All that one probe needs; given back at its end unless the pair hangs.
class Probe {
 public:
  Probe(SegmentMemory& memory, int from, int to) : memory_(memory), from_(from), to_(to) {}
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  ~Probe() {
    if (hangs_) return;
    try {
      if (start_ != nullptr) check(cudaEventDestroy(start_), "cudaEventDestroy");
      if (stop_ != nullptr) check(cudaEventDestroy(stop_), "cudaEventDestroy");
      if (stream_ != nullptr) check(cudaStreamDestroy(stream_), "cudaStreamDestroy");
      if (pattern_ != nullptr) check(cudaFreeHost(pattern_), "cudaFreeHost");
      if (here_ != nullptr) memory_.free(from_, here_);
      if (there_ != nullptr) memory_.free(to_, there_);
    } catch (const Error&) {  // a lost context: the fabric is poisoned by now
    }
  }

  /// False: no memory for two buffers of `bytes` and the pattern.
  bool take(size_t bytes) {
    bytes_ = bytes;
    here_ = memory_.alloc(from_, bytes);
    there_ = memory_.alloc(to_, bytes);
    if (here_ == nullptr || there_ == nullptr) return false;
    use_device(from_);
    void* pinned = nullptr;
    const cudaError_t status = cudaHostAlloc(&pinned, 2 * kPatternBytes, cudaHostAllocPortable);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return false;
    }
    check(status, "cudaHostAlloc");
    pattern_ = static_cast<uint32_t*>(pinned);
    back_ = pattern_ + kPatternBytes / sizeof(uint32_t);
    return true;
  }

  PeerVerdict run(int64_t limit_ms) {
    use_device(from_);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaEventCreate(&start_), "cudaEventCreate");
    check(cudaEventCreate(&stop_), "cudaEventCreate");
    uint32_t word = 0x9E3779B9u * static_cast<uint32_t>(from_ * 64 + to_ + 1);
    for (size_t i = 0; i < kPatternBytes / sizeof(uint32_t); ++i) {
      pattern_[i] = word = word * 1664525u + 1013904223u;
    }
    std::memset(back_, 0, kPatternBytes);
    hangs_ = true;  // until the stream is known to have ended
    copy(here_, pattern_, kPatternBytes);
    copy(there_, here_, kPatternBytes);
    copy(back_, there_, kPatternBytes);
    const bool timed = bytes_ > kPatternBytes;
    if (timed) copy(there_, here_, bytes_);  // the first one is slower
    check(cudaEventRecord(start_, stream_), "cudaEventRecord");
    for (int i = 0; timed && i < kRounds; ++i) copy(there_, here_, bytes_);
    check(cudaEventRecord(stop_, stream_), "cudaEventRecord");
    auto passed = [](void* event) { return cudaEventQuery(static_cast<cudaEvent_t>(event)); };
    if (!wait_until(passed, stop_, limit_ms, "testing peer access")) {
      return {State::kBroken,
              0,
              "a test copy was not done after " + std::to_string(limit_ms) + " ms",
              {}};
    }
    hangs_ = false;
    if (std::memcmp(pattern_, back_, kPatternBytes) != 0) {
      return {State::kBroken, 0, "a test pattern came back wrong", {}};
    }
    PeerVerdict works{State::kWorks, 0, "", {}};
    float ms = 0;
    check(cudaEventElapsedTime(&ms, start_, stop_), "cudaEventElapsedTime");
    if (timed && ms > 0) works.gbps = static_cast<double>(bytes_) * kRounds / ms / 1e6;
    return works;
  }

 private:
  void copy(void* dst, const void* src, size_t bytes) {
    check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
  }

  SegmentMemory& memory_;
  const int from_, to_;
  size_t bytes_ = 0;
  void* here_ = nullptr;
  void* there_ = nullptr;
  uint32_t* pattern_ = nullptr;  // pinned, and behind it what comes back
  uint32_t* back_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
  bool hangs_ = false;
};

}  // namespace

PeerVerdict probe_peer(SegmentMemory& memory, int from, int to, int64_t limit_ms) {
  for (size_t bytes : {kLargeBytes, kPatternBytes}) {
    Probe probe(memory, from, to);
    if (probe.take(bytes)) return probe.run(limit_ms);
  }
  return untested("there is no memory to test it with");
}

}  // namespace fabric::cuda
