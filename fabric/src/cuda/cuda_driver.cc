// Devices, memory, streams and work of the cuda driver. Events are in cuda_events.cc, peers in
// cuda_peers.cc, graphs in cuda_graph.cc.
#include "cuda/cuda_driver.h"

#include <chrono>
#include <cstdio>
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
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    return nullptr;
  }
  return std::unique_ptr<Driver>(new CudaDriver(count));
}

CudaDriver::CudaDriver(int count)
    : count_(count),
      memory_(count),
      notify_events_(static_cast<size_t>(count)),
      peers_(static_cast<size_t>(count) * static_cast<size_t>(count)) {}

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
  check(cudaHostAlloc(&ptr, bytes, cudaHostAllocPortable), "cudaHostAlloc");
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
  std::lock_guard<std::mutex> lock(mutex_);
  stream_device_[stream] = ordinal;
  return stream;
}

void CudaDriver::destroy_stream(StreamHandle stream) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stream_device_.erase(stream);
  }
  check(cudaStreamDestroy(raw(stream)), "cudaStreamDestroy");
}

int CudaDriver::device_of(StreamHandle stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = stream_device_.find(stream);
  if (it == stream_device_.end())
    fail(ErrorCode::kUsage, "this stream was not made by the cuda driver");
  return it->second;
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

cudaEvent_t CudaDriver::take_notify_event(int ordinal) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto& free_list = notify_events_[static_cast<size_t>(ordinal)];
    if (!free_list.empty()) {
      cudaEvent_t event = free_list.back();
      free_list.pop_back();
      return event;
    }
  }
  use_device(ordinal);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return event;
}

void CudaDriver::give_notify_event(int ordinal, cudaEvent_t event) {
  std::lock_guard<std::mutex> lock(mutex_);
  notify_events_[static_cast<size_t>(ordinal)].push_back(event);
}

void CudaDriver::notify(StreamHandle stream, std::function<void()> fn) {
  int ordinal = device_of(stream);
  use_device(ordinal);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(raw(stream), &status), "cudaStreamIsCapturing");
  if (status != cudaStreamCaptureStatusNone) {
    // Its event would belong to the capture and could never be asked.
    fail(ErrorCode::kUsage, "cuda:%d: a captured stream cannot notify the host", ordinal);
  }
  cudaEvent_t event = take_notify_event(ordinal);
  check(cudaEventRecord(event, raw(stream)), "cudaEventRecord");
  poller_.add(ordinal, event, std::move(fn),
              [this](int o, cudaEvent_t e) { give_notify_event(o, e); });
}

void CudaDriver::hold(StreamHandle stream, std::shared_ptr<Gate> gate) {
  const DriverApi& api = driver_api();
  if (!api.complete) fail(ErrorCode::kCuda, "this CUDA driver has no stream waits on memory");
  uint32_t* word = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!free_words_.empty()) {
      word = free_words_.back();
      free_words_.pop_back();
    }
  }
  if (!word) {
    check(cudaHostAlloc(reinterpret_cast<void**>(&word), sizeof(uint32_t),
                        cudaHostAllocPortable | cudaHostAllocMapped),
          "cudaHostAlloc");
  }
  *static_cast<volatile uint32_t*>(word) = 0;
  use_device(device_of(stream));
  // The wait itself has no limit: whoever made the gate bounds it (runtime/gate_watch.h). The codes of the
  // driver API are those of the runtime.
  check(static_cast<cudaError_t>(api.stream_wait_value(
            raw(stream), reinterpret_cast<CUdeviceptr>(word), 1, CU_STREAM_WAIT_VALUE_GEQ)),
        "cuStreamWaitValue32");
  gate->then([word] { __atomic_store_n(word, 1u, __ATOMIC_RELEASE); });
  notify(stream, [this, word] {  // the stream has passed the word
    std::lock_guard<std::mutex> lock(mutex_);
    free_words_.push_back(word);
  });
}

}  // namespace fabric::cuda
