// adamw: one step of Adam with decoupled weight decay over a list of parameters, in one pass.
// Called through the kernel table; Kingma & Ba 2015, Loshchilov & Hutter 2019, with the order of
// operations of torch.optim.AdamW so that trajectories agree to rounding.

#include <algorithm>
#include <cmath>

#include "cpu/optim/param_chunks.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"

namespace weft::cpu {
namespace {

// What a step has in common for all parameters, in double once.
struct Factors {
  double beta2;
  double take1, take2;  // 1 - beta
  double eps;
};

template <typename T>
void step(const OptimParam& p, const ParamChunk& chunk, const Factors& f, const AdamWRates& r) {
  T* scratch = thread_scratch<T>(0, 2 * kParamChunk);
  const int64_t n = chunk.count;
  const T* __restrict grad = read_panel(p.dtype, p.grad, chunk.begin, n, scratch);
  T* __restrict param =
      const_cast<T*>(read_panel<T>(p.dtype, p.param, chunk.begin, n, scratch + kParamChunk));
  float* __restrict first = p.state0 + chunk.begin;
  float* __restrict second = p.state1 + chunk.begin;
  const T shrink = r.shrink, beta2 = f.beta2, take1 = f.take1, take2 = f.take2;
  const T step_size = r.step_size, unbias = r.unbias, eps = f.eps;
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad[i];
    const T m = first[i] + take1 * (g - first[i]);
    const T v = beta2 * second[i] + take2 * g * g;
    first[i] = static_cast<float>(m);
    second[i] = static_cast<float>(v);
    param[i] = shrink * param[i] - step_size * m / (std::sqrt(v) * unbias + eps);
  }
  store_panel<T>(p.dtype, p.param, chunk.begin, n, param);
}

/// Rates of a step that counts only the steps that were taken.
AdamWRates rates_behind_skips(AdamWArgs args) {
  if (args.live != nullptr) {
    args.lr = args.live[0];
    args.step = static_cast<int64_t>(args.live[1]);
  }
  args.step = std::max<int64_t>(1, args.step - static_cast<int64_t>(args.skip->skipped));
  return adamw_rates(args);
}

}  // namespace

void adamw(const OptimParam* params, int count, const AdamWArgs& args, Stream& stream) {
  check_param_dtypes(params, count, "adamw");
  const Factors factors{
      .beta2 = args.beta2, .take1 = 1 - args.beta1, .take2 = 1 - args.beta2, .eps = args.eps};
  AdamWRates rates{};
  if (args.live == nullptr && args.skip == nullptr) rates = adamw_rates(args);
  fabric::host::enqueue(stream.handle(), [list = std::vector<OptimParam>(params, params + count),
                                          factors, rates, args] {
    if (args.skip != nullptr && args.skip->found != 0) return;
    const AdamWRates now = args.skip != nullptr ? rates_behind_skips(args)
                           : args.live != nullptr
                               ? AdamWRates{args.live[0], args.live[1], args.live[2]}
                               : rates;
    const auto chunks = cut_params(list);
    for_each_chunk(chunks, [&](int64_t, const ParamChunk& chunk) {
      const OptimParam& p = list[chunk.param];
      p.dtype == DType::kF64 ? step<double>(p, chunk, factors, now)
                             : step<float>(p, chunk, factors, now);
    });
  });
}

}  // namespace weft::cpu
