// See segment_memory.h.
#include "cuda/segment_memory.h"

#include <algorithm>

#include "cuda/driver_api.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace fabric::cuda {
namespace {

CUmemAllocationProp properties_of(int ordinal) {
  CUmemAllocationProp prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = ordinal;
  return prop;
}

/// The driver API's codes are the runtime's: a lost context poisons the fabric here too.
void check(CUresult status, const char* what) {
  cuda::check(static_cast<cudaError_t>(status), what);
}

}  // namespace

SegmentMemory::SegmentMemory(int devices)
    : granularity_(static_cast<size_t>(devices), 0), readers_(static_cast<size_t>(devices)) {
  const DriverApi& api = driver_api();
  for (int d = 0; d < devices; ++d) {
    readers_[static_cast<size_t>(d)] = {d};
    int supported = 0;
    CUmemAllocationProp prop = properties_of(d);
    size_t granularity = 0;
    if (api.complete &&
        api.device_get_attribute(&supported,
                                 CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
                                 d) == CUDA_SUCCESS &&
        supported != 0 &&
        api.mem_get_granularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) ==
            CUDA_SUCCESS) {
      granularity_[static_cast<size_t>(d)] = granularity;
    }
  }
}

void* SegmentMemory::alloc(int ordinal, size_t bytes) {
  use_device(ordinal);
  if (mapped(ordinal)) return alloc_mapped(ordinal, bytes);
  void* ptr = nullptr;
  cudaError_t status = cudaMalloc(&ptr, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "cudaMalloc");
  return ptr;
}

void* SegmentMemory::alloc_mapped(int ordinal, size_t bytes) {
  const DriverApi& api = driver_api();
  size_t unit = granularity_[static_cast<size_t>(ordinal)];
  size_t rounded = (bytes + unit - 1) / unit * unit;
  check(cudaFree(nullptr), "creating the context");  // cuMem calls need the primary context
  CUmemAllocationProp prop = properties_of(ordinal);
  CUmemGenericAllocationHandle handle;
  CUresult made = api.mem_create(&handle, rounded, &prop, 0);
  if (made == CUDA_ERROR_OUT_OF_MEMORY) return nullptr;
  check(made, "cuMemCreate");
  CUdeviceptr address = 0;
  if (api.mem_address_reserve(&address, rounded, 0, 0, 0) != CUDA_SUCCESS) {
    api.mem_release(handle);
    return nullptr;
  }
  if (api.mem_map(address, rounded, 0, handle, 0) != CUDA_SUCCESS) {
    api.mem_address_free(address, rounded);
    api.mem_release(handle);
    return nullptr;
  }
  void* ptr = reinterpret_cast<void*>(address);
  std::lock_guard<std::mutex> lock(mutex_);
  mappings_[ptr] = {rounded, handle, ordinal};
  grant(ptr, rounded, ordinal);
  return ptr;
}

/// Caller holds mutex_.
void SegmentMemory::grant(void* ptr, size_t bytes, int ordinal) {
  std::vector<CUmemAccessDesc> access;
  for (int reader : readers_[static_cast<size_t>(ordinal)]) {
    CUmemAccessDesc desc = {};
    desc.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    desc.location.id = reader;
    desc.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    access.push_back(desc);
  }
  CUresult status = driver_api().mem_set_access(reinterpret_cast<CUdeviceptr>(ptr), bytes,
                                                access.data(), access.size());
  if (status != CUDA_SUCCESS)
    fail(ErrorCode::kPeerAccess, "cuMemSetAccess failed: error %d", status);
}

void SegmentMemory::free(int ordinal, void* ptr) {
  use_device(ordinal);
  std::unique_lock<std::mutex> lock(mutex_);
  auto it = mappings_.find(ptr);
  if (it == mappings_.end()) {
    lock.unlock();
    check(cudaFree(ptr), "cudaFree");
    return;
  }
  Mapping mapping = it->second;
  mappings_.erase(it);
  lock.unlock();
  const DriverApi& api = driver_api();
  auto address = reinterpret_cast<CUdeviceptr>(ptr);
  CUresult status = api.mem_unmap(address, mapping.bytes);
  if (status == CUDA_SUCCESS) status = api.mem_release(mapping.handle);
  if (status == CUDA_SUCCESS) status = api.mem_address_free(address, mapping.bytes);
  check(status, "giving a segment back");
}

void SegmentMemory::open_to_peer(int from, int to) {
  use_device(from);
  cudaError_t status =
      cudaDeviceEnablePeerAccess(to, 0);  // plain allocations, and the hardware path
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
  } else if (status != cudaSuccess) {
    cudaGetLastError();
    fail(ErrorCode::kPeerAccess, "cuda:%d cannot reach the memory of cuda:%d: %s", from, to,
         cudaGetErrorString(status));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  auto& readers = readers_[static_cast<size_t>(to)];
  if (std::find(readers.begin(), readers.end(), from) != readers.end()) return;
  readers.push_back(from);
  for (auto& [ptr, mapping] : mappings_) {
    if (mapping.owner == to) grant(ptr, mapping.bytes, to);
  }
}

}  // namespace fabric::cuda
