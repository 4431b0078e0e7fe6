// Devices, memory, streams and work of the cuda driver. Events and notifications are in
// cuda_events.cc, peers in cuda_peers.cc, graphs in cuda_graph.cc.
#include "cuda/cuda_driver.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "cuda/driver_api.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"
#include "fabric/fabric.h"
#include "topology/nvml.h"

namespace fabric::cuda {
namespace {

cudaStream_t raw(StreamHandle stream) { return static_cast<cudaStream_t>(stream); }

// From the kernel module's own file, which is there at once; NVML takes a while to start.
std::string kernel_driver_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  for (std::string word; file >> word;) {
    const bool number = word.find('.') != std::string::npos &&
                        word.find_first_not_of("0123456789.") == std::string::npos;
    if (number) return word;
  }
  return Nvml::get().driver_version();
}

}  // namespace

std::string pci_id(int ordinal) {
  int domain = 0, bus = 0, slot = 0;
  check(cudaDeviceGetAttribute(&domain, cudaDevAttrPciDomainId, ordinal), "PCI domain");
  check(cudaDeviceGetAttribute(&bus, cudaDevAttrPciBusId, ordinal), "PCI bus");
  check(cudaDeviceGetAttribute(&slot, cudaDevAttrPciDeviceId, ordinal), "PCI device");
  char text[32];
  std::snprintf(text, sizeof text, "%08x:%02x:%02x.0", domain, bus, slot);
  return text;
}

std::unique_ptr<Driver> CudaDriver::create() {
  // Read when a context is made. With the usual 8 queues, streams beyond share one, and a kernel that waits for
  // another's data may stand before it: eight virtual devices of a GPU then wait for ever. What the user set stays.
  if (setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0) != 0) {
    fail(ErrorCode::kDevice, "CUDA_DEVICE_MAX_CONNECTIONS could not be set: no memory");
  }
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    return nullptr;
  }
  return std::unique_ptr<Driver>(new CudaDriver(count));
}

CudaDriver::CudaDriver(int count)
    : count_(count), memory_(count), signals_(count, capture_gate_), peers_(count) {}

DeviceProperties CudaDriver::properties(int ordinal) const {
  cudaDeviceProp prop;
  check(cudaGetDeviceProperties(&prop, ordinal), "cudaGetDeviceProperties");
  DeviceProperties out;
  out.model = prop.name;
  out.total_bytes = prop.totalGlobalMem;
  out.multiprocessors = prop.multiProcessorCount;
  out.capability_major = prop.major;
  out.capability_minor = prop.minor;
  out.pci = pci_id(ordinal);
  out.driver_version = kernel_driver_version();
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  out.runtime_version = std::to_string(runtime / 1000) + "." + std::to_string(runtime % 1000 / 10);
  char text[64];
  for (int i = 0; i < 16; ++i) {
    std::snprintf(text, sizeof text, "%02x", static_cast<unsigned char>(prop.uuid.bytes[i]));
    out.uuid += text;
    if (i == 3 || i == 5 || i == 7 || i == 9) out.uuid += '-';
  }
  return out;
}

uint64_t CudaDriver::free_bytes(int ordinal) const {
  use_device(ordinal);
  size_t left = 0, total = 0;
  check(cudaMemGetInfo(&left, &total), "cudaMemGetInfo");
  return left;
}

void* CudaDriver::alloc(int ordinal, size_t bytes) { return memory_.alloc(ordinal, bytes); }
void CudaDriver::free(int ordinal, void* ptr, size_t) { memory_.free(ordinal, ptr); }

void* CudaDriver::alloc_staging(size_t bytes) {
  void* ptr = nullptr;
  const cudaError_t status = cudaHostAlloc(&ptr, bytes, cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "cudaHostAlloc");
  return ptr;
}
void CudaDriver::free_staging(void* ptr, size_t) { check(cudaFreeHost(ptr), "cudaFreeHost"); }

StreamHandle CudaDriver::create_stream(int ordinal, StreamPurpose purpose, int priority) {
  use_device(ordinal);
  int least = 0, greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  // Communication goes first: its kernels are short and others wait for them.
  int level = purpose == StreamPurpose::kComm ? greatest : least - priority;
  level = level < greatest ? greatest : level > least ? least : level;
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, level),
        "cudaStreamCreateWithPriority");
  streams_.add(stream, ordinal);
  return stream;
}

void CudaDriver::destroy_stream(StreamHandle stream) {
  streams_.remove(raw(stream));
  check(cudaStreamDestroy(raw(stream)), "cudaStreamDestroy");
}

int CudaDriver::use_device_of(StreamHandle stream) const {
  const int ordinal = streams_.ordinal_of(raw(stream));
  use_device(ordinal);
  return ordinal;
}

bool wait_until(cudaError_t (*ready)(void*), void* object, int64_t timeout_ms, const char* what) {
  auto start = std::chrono::steady_clock::now();
  auto deadline = start + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    cudaError_t status = ready(object);
    if (status != cudaErrorNotReady) {
      check(status, what);
      return true;
    }
    cudaGetLastError();
    auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return false;
    if (now - start > std::chrono::microseconds(200))
      std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

bool CudaDriver::query_stream(StreamHandle stream) {
  cudaError_t status = cudaStreamQuery(raw(stream));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(status, "cudaStreamQuery");
  return true;
}

bool CudaDriver::synchronize_stream(StreamHandle stream, int64_t timeout_ms) {
  return wait_until([](void* s) { return cudaStreamQuery(static_cast<cudaStream_t>(s)); }, stream,
                    timeout_ms, "waiting for a stream");
}

void CudaDriver::copy(void* dst, int, const void* src, int, size_t bytes, StreamHandle stream) {
  if (bytes == 0) return;
  use_device_of(stream);
  // Unified addresses: the driver knows where both lie, and mapped segments are open to peers.
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, raw(stream)), "cudaMemcpyAsync");
}

void CudaDriver::fill(void* dst, int ordinal, int byte, size_t bytes, StreamHandle stream) {
  if (bytes == 0) return;
  use_device(ordinal);
  check(cudaMemsetAsync(dst, byte, bytes, raw(stream)), "cudaMemsetAsync");
}

void CudaDriver::combine(void* dst, const void* a, const void* b, size_t count, DType dtype,
                         ReduceOp op, double scale, int ordinal, StreamHandle stream) {
  if (count == 0) return;
  use_device(ordinal);
  launch_combine(dst, a, b, count, dtype, op, scale, ordinal, raw(stream));
}

}  // namespace fabric::cuda
