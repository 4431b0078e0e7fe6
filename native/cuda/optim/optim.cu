// sgd and adamw on CUDA: one step over a list of parameters in one launch (160 parameters each).
// Called through the kernel table. Semantics and order of operations are those of
// native/cpu/optim/optim_sgd.cc and optim_adamw.cc: torch.optim.SGD and torch.optim.AdamW (Kingma & Ba
// 2015, Loshchilov & Hutter 2019).

#include "cuda/arithmetic.cuh"
#include "cuda/kernel_list.h"
#include "cuda/optim/param_list.cuh"

namespace weft::cuda {
namespace {

/// What an AdamW step has in common for all parameters.
struct AdamWFactors {
  double beta2;
  double take1, take2;  // 1 - beta
  double eps;
  AdamWRates rates;
  const double* live;  // an AdamWRates in device memory, or nullptr
  const SkipRecord* skip;
};

/// Rates of a step that counts only the steps that were taken: as rates_behind_skips on the host.
__global__ void rates_behind_skips(AdamWArgs args, AdamWRates* out) {
  const double lr = args.live != nullptr ? args.live[0] : args.lr;
  double step = args.live != nullptr ? args.live[1] : static_cast<double>(args.step);
  step = fmax(1.0, step - static_cast<double>(args.skip->skipped));
  out->shrink = 1 - lr * args.weight_decay;
  out->step_size = lr / (1 - pow(args.beta1, step));
  out->unbias = 1 / sqrt(1 - pow(args.beta2, step));
}

template <typename T>
__device__ __forceinline__ void adamw_chunk(const ParamEntry& p, const AdamWFactors& f) {
  using L = Lane<T>;
  const AdamWRates r = f.live != nullptr ? AdamWRates{f.live[0], f.live[1], f.live[2]} : f.rates;
  const L shrink = r.shrink, beta2 = f.beta2, take1 = f.take1, take2 = f.take2;
  const L step_size = r.step_size, unbias = r.unbias, eps = f.eps;
  each_pack(p, [&](int64_t i, int present) {
    L g[kParamPack], x[kParamPack], m[kParamPack], v[kParamPack];
    read_four<T>(p.grad, i, p.packs, present, g);
    read_four<T>(p.param, i, p.packs, present, x);
    read_four<float>(p.state0, i, p.packs, present, m);
    read_four<float>(p.state1, i, p.packs, present, v);
#pragma unroll
    for (int k = 0; k < kParamPack; ++k) {
      m[k] = m[k] + take1 * (g[k] - m[k]);
      v[k] = beta2 * v[k] + take2 * g[k] * g[k];
      x[k] = shrink * x[k] - step_size * m[k] / (sqrt_of(v[k]) * unbias + eps);
    }
    write_four<float>(p.state0, i, p.packs, present, m);
    write_four<float>(p.state1, i, p.packs, present, v);
    write_four<T>(p.param, i, p.packs, present, x);
  });
}

__global__ void __launch_bounds__(kParamThreads, 3)
    adamw_kernel(const __grid_constant__ ParamList list, const AdamWFactors factors) {
  if (factors.skip != nullptr && factors.skip->found != 0) return;
  const ParamEntry& p = list.entry[entry_of_block(list)];
  switch (p.dtype) {
    case DType::kF32:
      return adamw_chunk<float>(p, factors);
    case DType::kF16:
      return adamw_chunk<F16>(p, factors);
    case DType::kBF16:
      return adamw_chunk<BF16>(p, factors);
    default:
      return adamw_chunk<double>(p, factors);
  }
}

template <typename T>
__device__ __forceinline__ void sgd_chunk(const ParamEntry& p, const SgdArgs& args) {
  using L = Lane<T>;
  const L lr = args.live != nullptr ? args.live[0] : args.lr, decay = args.weight_decay;
  const bool buffered = args.momentum != 0 && p.state0 != nullptr;
  // The first step takes the gradient itself, without dampening; what the buffer holds then may be
  // anything.
  const L keep = args.momentum, take = args.first_step ? L(1) : L(1 - args.dampening);
  const L buffer_weight = args.nesterov ? keep : L(1);
  const L grad_weight = args.nesterov ? L(1) : L(0);
  each_pack(p, [&](int64_t i, int present) {
    L g[kParamPack], x[kParamPack], b[kParamPack];
    read_four<T>(p.grad, i, p.packs, present, g);
    read_four<T>(p.param, i, p.packs, present, x);
    if (!buffered) {
#pragma unroll
      for (int k = 0; k < kParamPack; ++k) x[k] -= lr * (g[k] + decay * x[k]);
    } else {
      if (!args.first_step) read_four<float>(p.state0, i, p.packs, present, b);
#pragma unroll
      for (int k = 0; k < kParamPack; ++k) {
        const L slope = g[k] + decay * x[k];
        b[k] = args.first_step ? take * slope : keep * b[k] + take * slope;
        x[k] -= lr * (buffer_weight * b[k] + grad_weight * slope);
      }
      write_four<float>(p.state0, i, p.packs, present, b);
    }
    write_four<T>(p.param, i, p.packs, present, x);
  });
}

__global__ void __launch_bounds__(kParamThreads, 3)
    sgd_kernel(const __grid_constant__ ParamList list, const SgdArgs args) {
  if (args.skip != nullptr && args.skip->found != 0) return;
  const ParamEntry& p = list.entry[entry_of_block(list)];
  switch (p.dtype) {
    case DType::kF32:
      return sgd_chunk<float>(p, args);
    case DType::kF16:
      return sgd_chunk<F16>(p, args);
    case DType::kBF16:
      return sgd_chunk<BF16>(p, args);
    default:
      return sgd_chunk<double>(p, args);
  }
}

}  // namespace

void sgd(const OptimParam* params, int count, const SgdArgs& args, Stream& stream) {
  check_params(params, count, "sgd");
  const cudaStream_t s = enter(stream);
  for_each_list(params, count, [&](const ParamList& list, uint32_t blocks) {
    sgd_kernel<<<blocks, kParamThreads, 0, s>>>(list, args);
    check_launch("sgd");
  });
}

void adamw(const OptimParam* params, int count, const AdamWArgs& args, Stream& stream) {
  check_params(params, count, "adamw");
  const cudaStream_t s = enter(stream);
  const bool on_device = args.live != nullptr || args.skip != nullptr;
  AdamWFactors factors{.beta2 = args.beta2,
                       .take1 = 1 - args.beta1,
                       .take2 = 1 - args.beta2,
                       .eps = args.eps,
                       .rates = on_device ? AdamWRates{} : adamw_rates(args),
                       .live = args.live,
                       .skip = args.skip};
  Scratch rates(stream, args.skip != nullptr ? sizeof(AdamWRates) : 0);
  if (args.skip != nullptr) {
    rates_behind_skips<<<1, 1, 0, s>>>(args, rates.as<AdamWRates>());
    check_launch("adamw");
    factors.live = rates.as<double>();
  }
  for_each_list(params, count, [&](const ParamList& list, uint32_t blocks) {
    adamw_kernel<<<blocks, kParamThreads, 0, s>>>(list, factors);
    check_launch("adamw");
  });
}

}  // namespace weft::cuda
