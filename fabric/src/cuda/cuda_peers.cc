// Peer access of the cuda driver: enabled once a pair, and trusted only after a pattern was written
// and read back through it; and what is known of a pair's link before that.
#include <cstring>
#include <vector>

#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"
#include "topology/nvml.h"

namespace fabric::cuda {
namespace {

constexpr size_t kProbeBytes = size_t{32} << 20;
constexpr int kProbeRounds = 4;

}  // namespace

bool CudaDriver::can_access_peer(int from, int to) {
  if (from == to) return true;
  int can = 0;
  check(cudaDeviceCanAccessPeer(&can, from, to), "cudaDeviceCanAccessPeer");
  return can != 0;
}

void CudaDriver::enable_peer(int from, int to) {
  if (from == to) return;
  size_t slot = static_cast<size_t>(from) * static_cast<size_t>(count_) + static_cast<size_t>(to);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (peers_[slot].tried) {
      if (peers_[slot].works) return;
      fail(ErrorCode::kPeerAccess, "cuda:%d does not reach the memory of cuda:%d reliably", from,
           to);
    }
  }
  memory_.open_to_peer(from, to);
  double gbps = 0;
  bool works = probe_peer(from, to, &gbps);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    peers_[slot] = {true, works, gbps};
  }
  if (!works) {
    fail(ErrorCode::kPeerAccess,
         "cuda:%d may access the memory of cuda:%d, but a test pattern came back wrong; copies "
         "will go through the "
         "host",
         from, to);
  }
}

/// Writes a pattern from `from` into `to`'s memory and reads it back there; times the copies.
bool CudaDriver::probe_peer(int from, int to, double* gbps) {
  void* here = alloc(from, kProbeBytes);
  void* there = alloc(to, kProbeBytes);
  if (!here || !there) {
    if (here) free(from, here, kProbeBytes);
    if (there) free(to, there, kProbeBytes);
    return true;  // too little memory to measure; access was granted
  }
  use_device(from);
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, stop = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  check(cudaEventCreate(&start), "cudaEventCreate");
  check(cudaEventCreate(&stop), "cudaEventCreate");
  std::vector<uint32_t> pattern(1 << 16), back(1 << 16);
  uint32_t word = 0x9E3779B9u * static_cast<uint32_t>(from * 64 + to + 1);
  for (uint32_t& w : pattern) w = (word = word * 1664525u + 1013904223u);
  size_t bytes = pattern.size() * sizeof(uint32_t);
  check(cudaMemcpyAsync(here, pattern.data(), bytes, cudaMemcpyHostToDevice, stream),
        "cudaMemcpyAsync");
  check(cudaMemcpyAsync(there, here, bytes, cudaMemcpyDefault, stream), "peer copy");
  check(cudaMemcpyAsync(back.data(), there, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
  check(cudaMemcpyAsync(there, here, kProbeBytes, cudaMemcpyDefault, stream), "peer copy");
  check(cudaEventRecord(start, stream), "cudaEventRecord");
  for (int i = 0; i < kProbeRounds; ++i) {
    check(cudaMemcpyAsync(there, here, kProbeBytes, cudaMemcpyDefault, stream), "peer copy");
  }
  check(cudaEventRecord(stop, stream), "cudaEventRecord");
  bool ended = synchronize_stream(stream, 10'000);
  float ms = 0;
  if (ended) check(cudaEventElapsedTime(&ms, start, stop), "cudaEventElapsedTime");
  check(cudaEventDestroy(start), "cudaEventDestroy");
  check(cudaEventDestroy(stop), "cudaEventDestroy");
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  free(from, here, kProbeBytes);
  free(to, there, kProbeBytes);
  if (ms > 0) *gbps = static_cast<double>(kProbeBytes) * kProbeRounds / ms / 1e6;
  return ended && std::memcmp(pattern.data(), back.data(), bytes) == 0;
}

double CudaDriver::measured_gbps(int from, int to) {
  if (from == to) return 0;
  std::lock_guard<std::mutex> lock(mutex_);
  return peers_[static_cast<size_t>(from) * static_cast<size_t>(count_) + static_cast<size_t>(to)]
      .gbps;
}

// NVML tells most. Without it: of the links between two GPUs, only NVLink carries native atomics.
LinkInfo CudaDriver::link(int from, int to) {
  if (auto told = Nvml::get().link(pci_id(from), pci_id(to))) return *told;
  LinkInfo info;
  int atomics = 0;
  check(cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, from, to),
        "cudaDeviceGetP2PAttribute");
  info.kind = atomics != 0 ? "nvlink" : "pcie";
  return info;
}

}  // namespace fabric::cuda
