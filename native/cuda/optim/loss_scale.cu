// amp_unscale and amp_update on CUDA: gradients divided by the loss scale with a look for overflows,
// and the scale's growth and backoff (Micikevicius et al. 2018; torch.amp.GradScaler). Called through
// the kernel table. Semantics are those of native/cpu/optim/loss_scale.cc.
#include "cuda/kernel_list.h"
#include "cuda/optim/param_list.cuh"

namespace weft::cuda {
namespace {

__global__ void begin_kernel(SkipRecord* record) { record->found = 0; }

template <typename T>
__device__ __forceinline__ void unscale_chunk(const ParamEntry& p, double factor, float* found) {
  using L = Lane<T>;
  const L by = factor;
  bool finite = true;
  each_pack(p, [&](int64_t i, int present) {
    L g[kParamPack];
    read_four<T>(p.grad, i, p.packs, present, g);
#pragma unroll
    for (int k = 0; k < kParamPack; ++k) {
      finite = finite && g[k] - g[k] == L(0);
      g[k] *= by;
    }
    write_four<T>(const_cast<void*>(p.grad), i, p.packs, present, g);
  });
  if (!finite) *found = 1;  // whoever writes, writes the same
}

__global__ void __launch_bounds__(kParamThreads, 3)
    unscale_kernel(const __grid_constant__ ParamList list, const ScalerState* scaler,
                   SkipRecord* record) {
  const double factor = 1.0 / static_cast<double>(scaler->scale);
  const ParamEntry& p = list.entry[entry_of_block(list)];
  switch (p.dtype) {
    case DType::kF32:
      return unscale_chunk<float>(p, factor, &record->found);
    case DType::kF16:
      return unscale_chunk<F16>(p, factor, &record->found);
    case DType::kBF16:
      return unscale_chunk<BF16>(p, factor, &record->found);
    default:
      return unscale_chunk<double>(p, factor, &record->found);
  }
}

__global__ void end_kernel(ScalerState* scaler, SkipRecord* record) {
  record->skipped += record->found;
  if (record->found != 0) scaler->found = 1;
}

__global__ void update_kernel(ScalerState* scaler, const AmpUpdateArgs args) {
  if (scaler->found != 0) {
    scaler->scale = static_cast<float>(scaler->scale * args.backoff);
    scaler->tracker = 0;
  } else if (scaler->tracker + 1 >= static_cast<float>(args.interval)) {
    const float grown = static_cast<float>(scaler->scale * args.growth);
    if (grown - grown == 0) scaler->scale = grown;
    scaler->tracker = 0;
  } else {
    scaler->tracker += 1;
  }
  scaler->found = 0;
}

}  // namespace

void amp_unscale(const OptimParam* params, int count, ScalerState* scaler, SkipRecord* record,
                 Stream& stream) {
  check_params(params, count, "amp_unscale");
  const cudaStream_t s = enter(stream);
  begin_kernel<<<1, 1, 0, s>>>(record);
  check_launch("amp_unscale");
  for_each_list(params, count, [&](const ParamList& list, uint32_t blocks) {
    unscale_kernel<<<blocks, kParamThreads, 0, s>>>(list, scaler, record);
    check_launch("amp_unscale");
  });
  end_kernel<<<1, 1, 0, s>>>(scaler, record);
  check_launch("amp_unscale");
}

void amp_update(ScalerState* scaler, const AmpUpdateArgs& args, Stream& stream) {
  update_kernel<<<1, 1, 0, enter(stream)>>>(scaler, args);
  check_launch("amp_update");
}

}  // namespace weft::cuda
