// cast_list on CUDA: a list of f32 weights in f16 or bf16, in one launch. Called through the kernel table by
// regions of mixed precision (dispatch/autocast.h).
#include "cuda/kernel_list.h"
#include "cuda/optim/param_list.cuh"

namespace weft::cuda {
namespace {

template <typename T>
__device__ __forceinline__ void cast_chunk(const ParamEntry& p) {
  each_pack(p, [&](int64_t i, int present) {
    float x[kParamPack];
    read_four<float>(p.grad, i, p.packs, present, x);
    write_four<T>(p.param, i, p.packs, present, x);
  });
}

__global__ void __launch_bounds__(kParamThreads)
    cast_kernel(const __grid_constant__ ParamList list) {
  const ParamEntry& p = list.entry[entry_of_block(list)];
  if (p.dtype == DType::kF16) return cast_chunk<F16>(p);
  cast_chunk<BF16>(p);
}

}  // namespace

void cast_list(const OptimParam* casts, int count, Stream& stream) {
  for (int i = 0; i < count; ++i) {
    if (!is_half(casts[i].dtype))
      fail(ErrorCode::kDtype, "cast_list: %s is not f16 or bf16", dtype_name(casts[i].dtype));
  }
  const cudaStream_t s = enter(stream);
  for_each_list(casts, count, [&](const ParamList& list, uint32_t blocks) {
    ParamList cast = list;
    for (int i = 0; i < cast.length; ++i)
      cast.entry[i].packs = cast.entry[i].packs && is_aligned(cast.entry[i].grad, 16);
    cast_kernel<<<blocks, kParamThreads, 0, s>>>(cast);
    check_launch("cast_list");
  });
}

}  // namespace weft::cuda
