// Which CUDA statuses end the process's use of its devices. cuda_check.cc turns statuses into
// errors by it, the completion poller decides by it what poisons the fabric.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace fabric::cuda {

/// After these the context is lost: every later call of the process fails. They are the codes of
/// which driver_types.h says that the process must be terminated, and the two hardware errors.
bool sticky(cudaError_t status);
/// "<what>: cudaErrorX (text)".
std::string status_text(const char* what, cudaError_t status);

}  // namespace fabric::cuda
