// Peer access of the cuda driver: enabled once a pair, and trusted only after a pattern was written
// and read back through it (peer_probe.h); and what is known of a pair's link before that.
#include "cuda/cuda_driver.h"
#include "cuda/peer_probe.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"
#include "topology/nvml.h"

namespace fabric::cuda {
namespace {

constexpr int64_t kProbeMs = 10'000;

[[noreturn]] void refuse(int from, int to, const PeerVerdict& verdict) {
  fail(ErrorCode::kPeerAccess,
       "cuda:%d does not use its access to the memory of cuda:%d: %s; copies go through the host",
       from, to, verdict.reason.c_str());
}

}  // namespace

bool CudaDriver::can_access_peer(int from, int to) {
  if (from == to) return true;
  int can = 0;
  check(cudaDeviceCanAccessPeer(&can, from, to), "cudaDeviceCanAccessPeer");
  return can != 0;
}

void CudaDriver::enable_peer(int from, int to) {
  if (from == to) return;
  using State = PeerVerdict::State;
  PeerVerdict verdict = peers_.find(from, to);
  if (PeerTable::due(verdict)) {
    std::lock_guard testing(peers_.testing());
    verdict = peers_.find(from, to);
    if (PeerTable::due(verdict)) {
      memory_.open_to_peer(from, to);
      verdict = probe_peer(memory_, from, to, kProbeMs);
      peers_.set(from, to, verdict);
    }
  }
  if (verdict.state != State::kWorks) refuse(from, to, verdict);
}

double CudaDriver::measured_gbps(int from, int to) {
  return from == to ? 0 : peers_.find(from, to).gbps;
}

// NVML tells most. Without it: of the links between two GPUs, only NVLink carries native atomics.
LinkInfo CudaDriver::link(int from, int to) {
  int atomics = 0, rank = -1;
  check(cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, from, to),
        "cudaDeviceGetP2PAttribute");
  check(cudaDeviceGetP2PAttribute(&rank, cudaDevP2PAttrPerformanceRank, from, to),
        "cudaDeviceGetP2PAttribute");
  LinkInfo info;
  if (auto told = Nvml::get().link(pci_id(from), pci_id(to))) {
    info = *told;
  } else {
    info.kind = atomics != 0 ? "nvlink" : "pcie";
  }
  info.native_atomics = atomics != 0;
  info.performance_rank = rank;
  return info;
}

void CudaDriver::copy_by_kernel(void* dst, int, const void* src, int, size_t bytes,
                                StreamHandle stream) {
  if (bytes == 0) return;
  use_device_of(stream);
  launch_peer_copy(dst, src, bytes, static_cast<cudaStream_t>(stream));
}

}  // namespace fabric::cuda
