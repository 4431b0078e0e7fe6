// Which GPU the calling thread's CUDA calls are for. NCCL's allocator and registration go by it
// (bench/nccl_ranks.cc); streams and kernels of weft do not.
#pragma once

namespace weft::cuda {

/// Throws CudaError when there is no such GPU.
void set_current_device(int ordinal);

}  // namespace weft::cuda
