// The driver API functions that the runtime API lacks, found at run time through the runtime
// itself: the binary links no libcuda and loads on machines without a driver.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace fabric::cuda {

struct DriverApi {
  CUresult (*mem_address_reserve)(CUdeviceptr*, size_t, size_t, CUdeviceptr,
                                  unsigned long long) = nullptr;
  CUresult (*mem_address_free)(CUdeviceptr, size_t) = nullptr;
  CUresult (*mem_create)(CUmemGenericAllocationHandle*, size_t, const CUmemAllocationProp*,
                         unsigned long long) = nullptr;
  CUresult (*mem_release)(CUmemGenericAllocationHandle) = nullptr;
  CUresult (*mem_map)(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle,
                      unsigned long long) = nullptr;
  CUresult (*mem_unmap)(CUdeviceptr, size_t) = nullptr;
  CUresult (*mem_set_access)(CUdeviceptr, size_t, const CUmemAccessDesc*, size_t) = nullptr;
  CUresult (*mem_get_granularity)(size_t*, const CUmemAllocationProp*,
                                  CUmemAllocationGranularity_flags) = nullptr;
  CUresult (*device_get_attribute)(int*, CUdevice_attribute, CUdevice) = nullptr;
  CUresult (*stream_wait_value)(CUstream, CUdeviceptr, cuuint32_t, unsigned int) = nullptr;
  bool complete = false;  ///< all of the above were found
};
const DriverApi& driver_api();

}  // namespace fabric::cuda
