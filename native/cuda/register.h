// Start-up entry of the CUDA kernels. Called once before the first operator runs, in builds with
// device code (WEFT_HAVE_CUDA).
#pragma once

namespace weft {

void register_cuda_kernels();

}  // namespace weft
