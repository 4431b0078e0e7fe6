// Turns CUDA statuses into typed errors; finds the sticky ones, after which the process must
// restart.
#include <atomic>
#include <string>

#include "cuda/cuda_status.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"

namespace fabric::cuda {
namespace {

thread_local int t_device = -1;

}  // namespace

bool sticky(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

std::string status_text(const char* what, cudaError_t status) {
  return std::string(what) + ": " + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) +
         ")";
}

void use_device(int ordinal) {
  if (t_device == ordinal) [[likely]]
    return;
  check(cudaSetDevice(ordinal), "cudaSetDevice");
  t_device = ordinal;
}

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]]
    return;
  const std::string text = status_text(what, status);
  event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, static_cast<uint64_t>(status),
                 static_cast<uint32_t>(ErrorCode::kCuda));
  if (sticky(status)) {
    poison(text);
    check_poison();
  }
  cudaGetLastError();  // forget it: the next launch must not be blamed
  throw Error(ErrorCode::kCuda, text);
}

void check_launch(const char* what) {
  cudaError_t status = cudaPeekAtLastError();
  if (status != cudaSuccess) [[unlikely]]
    check(status, what);
}

int multiprocessors(int ordinal) {
  static std::atomic<int> counts[64];
  if (ordinal < 0 || ordinal >= 64) fail(ErrorCode::kDevice, "no GPU %d", ordinal);
  int count = counts[ordinal].load(std::memory_order_relaxed);
  if (count == 0) {  // threads that meet here read the same number
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, ordinal),
          "cudaDeviceGetAttribute");
    counts[ordinal].store(count, std::memory_order_relaxed);
  }
  return count;
}

}  // namespace fabric::cuda
