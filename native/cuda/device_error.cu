// The memory behind device_error.h.
#include <atomic>
#include <cstring>
#include <mutex>

#include "core/async_error.h"
#include "cuda/device_error.h"
#include "cuda/launch.h"

namespace weft::cuda {
namespace {

constexpr int kDevices = 256;
std::atomic<DeviceError*> g_records{nullptr};

DeviceError* make_records() {
  static std::mutex mutex;
  std::lock_guard<std::mutex> guard(mutex);
  if (DeviceError* made = g_records.load(std::memory_order_acquire)) return made;
  // The first use may lie inside a graph capture, which forbids allocations of this thread unless
  // they are declared not to be part of it.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  check(cudaThreadExchangeStreamCaptureMode(&mode), "index error records");
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, sizeof(DeviceError) * kDevices,
                                           cudaHostAllocPortable | cudaHostAllocMapped);
  check(cudaThreadExchangeStreamCaptureMode(&mode), "index error records");
  check(status, "index error records");
  std::memset(memory, 0, sizeof(DeviceError) * kDevices);
  auto* records = static_cast<DeviceError*>(memory);  // unified addresses: the same on devices
  g_records.store(records, std::memory_order_release);
  return records;
}

}  // namespace

DeviceError* device_error(uint16_t device) {
  DeviceError* records = g_records.load(std::memory_order_acquire);
  if (records == nullptr) records = make_records();
  return records + device % kDevices;
}

void poll_device_error(uint16_t device) {
  DeviceError* records = g_records.load(std::memory_order_acquire);
  if (records == nullptr) return;  // no kernel that reports has run
  DeviceError& record = records[device % kDevices];
  std::atomic_ref<uint32_t> state(record.state);
  if (state.load(std::memory_order_acquire) != 2) return;
  note_index_error(device, static_cast<uint16_t>(record.op), record.index, record.bound);
  state.store(0, std::memory_order_release);
}

}  // namespace weft::cuda
