// See driver_api.h.
#include "cuda/driver_api.h"

namespace fabric::cuda {
namespace {

template <typename F>
bool find(const char* name, F* out) {
  void* symbol = nullptr;
  cudaDriverEntryPointQueryResult result;
  if (cudaGetDriverEntryPointByVersion(name, &symbol, 12000, cudaEnableDefault, &result) !=
          cudaSuccess ||
      result != cudaDriverEntryPointSuccess) {
    cudaGetLastError();
    return false;
  }
  *out = reinterpret_cast<F>(symbol);
  return true;
}

}  // namespace

const DriverApi& driver_api() {
  static const DriverApi api = [] {
    DriverApi a;
    a.complete = find("cuMemAddressReserve", &a.mem_address_reserve) &&
                 find("cuMemAddressFree", &a.mem_address_free) &&
                 find("cuMemCreate", &a.mem_create) && find("cuMemRelease", &a.mem_release) &&
                 find("cuMemMap", &a.mem_map) && find("cuMemUnmap", &a.mem_unmap) &&
                 find("cuMemSetAccess", &a.mem_set_access) &&
                 find("cuMemGetAllocationGranularity", &a.mem_get_granularity) &&
                 find("cuStreamWaitValue32", &a.stream_wait_value) &&
                 find("cuDeviceGetAttribute", &a.device_get_attribute);
    return a;
  }();
  return api;
}

}  // namespace fabric::cuda
