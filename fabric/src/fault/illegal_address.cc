// The fault that ends a process's use of its devices, on either driver: a kernel at an illegal
// address. Tests alone ask for it, through fabric/faults.h.
#include <stdexcept>

#include "fabric/device.h"
#include "fabric/faults.h"
#include "fabric/host_queue.h"

#if defined(WEFT_HAVE_CUDA)
#include "cuda/illegal_address.h"
#endif

namespace fabric::faults {

void illegal_address(Stream& stream) {
#if defined(WEFT_HAVE_CUDA)
  if (stream.device().kind() == DriverKind::kCuda) {
    cuda::launch_illegal_address(stream.device().ordinal(),
                                 static_cast<cudaStream_t>(stream.handle()));
    return;
  }
#endif
  // A real access would end the process; a task that throws is the host driver's lost context.
  host::enqueue(stream.handle(), [] { throw std::runtime_error("illegal address (injected)"); });
}

}  // namespace fabric::faults
