// See segment_memory.h.
#include "cuda/segment_memory.h"

#include <algorithm>
#include <utility>

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

CUresult grant(CUdeviceptr address, size_t bytes, const std::vector<int>& readers) {
  std::vector<CUmemAccessDesc> access;
  for (int reader : readers) {
    CUmemAccessDesc desc = {};
    desc.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    desc.location.id = reader;
    desc.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    access.push_back(desc);
  }
  return driver_api().mem_set_access(address, bytes, access.data(), access.size());
}

/// The driver API's codes are the runtime's: a lost context poisons the fabric here too.
void check(CUresult status, const char* what) {
  cuda::check(static_cast<cudaError_t>(status), what);
}

}  // namespace

SegmentMemory::SegmentMemory(int devices) : owners_(static_cast<size_t>(devices)) {
  const DriverApi& api = driver_api();
  for (int d = 0; d < devices; ++d) {
    owner(d).readers = {d};
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
      owner(d).granularity = granularity;
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
  Owner& own = owner(ordinal);
  const size_t rounded = (bytes + own.granularity - 1) / own.granularity * own.granularity;
  check(cudaFree(nullptr), "creating the context");  // cuMem calls need the primary context
  CUmemAllocationProp prop = properties_of(ordinal);
  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr address = 0;
  bool reserved = false, mapped = false;
  const char* what = "cuMemCreate";
  CUresult status = api.mem_create(&handle, rounded, &prop, 0);
  if (status == CUDA_ERROR_OUT_OF_MEMORY) return nullptr;
  check(status, what);
  what = "cuMemAddressReserve";
  status = api.mem_address_reserve(&address, rounded, 0, 0, 0);
  reserved = status == CUDA_SUCCESS;
  if (reserved) {
    what = "cuMemMap";
    status = api.mem_map(address, rounded, 0, handle, 0);
    mapped = status == CUDA_SUCCESS;
  }
  if (mapped) {
    what = "cuMemSetAccess";
    std::lock_guard<std::mutex> lock(own.mutex);
    status = grant(address, rounded, own.readers);
    if (status == CUDA_SUCCESS) {
      void* ptr = reinterpret_cast<void*>(address);
      own.mappings[ptr] = {rounded, handle};
      return ptr;
    }
  }
  if (mapped) api.mem_unmap(address, rounded);
  if (reserved) api.mem_address_free(address, rounded);
  api.mem_release(handle);
  if (status == CUDA_ERROR_OUT_OF_MEMORY) return nullptr;
  check(status, what);
  return nullptr;  // check() has thrown
}

void SegmentMemory::free(int ordinal, void* ptr) {
  use_device(ordinal);
  Owner& own = owner(ordinal);
  std::unique_lock<std::mutex> lock(own.mutex);
  auto it = own.mappings.find(ptr);
  if (it == own.mappings.end()) {
    lock.unlock();
    check(cudaFree(ptr), "cudaFree");
    return;
  }
  const Mapping mapping = it->second;
  own.mappings.erase(it);
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
  Owner& own = owner(to);
  std::lock_guard<std::mutex> lock(own.mutex);
  if (std::find(own.readers.begin(), own.readers.end(), from) != own.readers.end()) return;
  std::vector<int> readers = own.readers;
  readers.push_back(from);
  for (auto& [ptr, mapping] : own.mappings) {
    const CUresult granted = grant(reinterpret_cast<CUdeviceptr>(ptr), mapping.bytes, readers);
    if (granted != CUDA_SUCCESS) {  // `from` does not count as a reader: later segments stay shut
      fail(ErrorCode::kPeerAccess, "cuda:%d could not be given access to the memory of cuda:%d: %s",
           from, to, cudaGetErrorString(static_cast<cudaError_t>(granted)));
    }
  }
  own.readers = std::move(readers);
}

}  // namespace fabric::cuda
