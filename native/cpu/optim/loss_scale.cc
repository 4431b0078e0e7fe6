// amp_unscale and amp_update: gradients divided by the loss scale with a look for overflows, and the
// scale's growth and backoff (Micikevicius et al. 2018; torch.amp.GradScaler). Called through the
// kernel table.
#include <atomic>
#include <cmath>

#include "cpu/optim/param_chunks.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"

namespace weft::cpu {
namespace {

/// Multiplies the chunk's gradients by `factor`; false when one of them is not finite.
template <typename T>
bool unscale(const OptimParam& p, const ParamChunk& chunk, double factor) {
  T* scratch = is_half(p.dtype) ? thread_scratch<T>(0, kParamChunk) : nullptr;
  void* grad = const_cast<void*>(p.grad);
  T* g = const_cast<T*>(read_panel<T>(p.dtype, grad, chunk.begin, chunk.count, scratch));
  const T by = static_cast<T>(factor);
  T zero = 0;  // stays 0 over finite gradients
  for (int64_t i = 0; i < chunk.count; ++i) {
    zero += g[i] - g[i];
    g[i] *= by;
  }
  store_panel<T>(p.dtype, grad, chunk.begin, chunk.count, g);
  return zero == 0;
}

}  // namespace

void amp_unscale(const OptimParam* params, int count, ScalerState* scaler, SkipRecord* record,
                 Stream& stream) {
  check_param_dtypes(params, count, "amp_unscale");
  fabric::host::enqueue(
      stream.handle(), [list = std::vector<OptimParam>(params, params + count), scaler, record] {
        const double factor = 1.0 / static_cast<double>(scaler->scale);
        const auto chunks = cut_params(list);
        std::atomic<bool> found{false};
        for_each_chunk(chunks, [&](int64_t, const ParamChunk& chunk) {
          const OptimParam& p = list[chunk.param];
          const bool finite = p.dtype == DType::kF64 ? unscale<double>(p, chunk, factor)
                                                     : unscale<float>(p, chunk, factor);
          if (!finite) found.store(true, std::memory_order_relaxed);
        });
        record->found = found.load() ? 1 : 0;
        record->skipped += record->found;
        if (found.load()) scaler->found = 1;
      });
}

void amp_update(ScalerState* scaler, const AmpUpdateArgs& args, Stream& stream) {
  fabric::host::enqueue(stream.handle(), [scaler, args] {
    if (scaler->found != 0) {
      scaler->scale = static_cast<float>(scaler->scale * args.backoff);
      scaler->tracker = 0;
    } else if (scaler->tracker + 1 >= static_cast<float>(args.interval)) {
      const auto grown = static_cast<float>(scaler->scale * args.growth);
      if (std::isfinite(grown)) scaler->scale = grown;
      scaler->tracker = 0;
    } else {
      scaler->tracker += 1;
    }
    scaler->found = 0;
  });
}

}  // namespace weft::cpu
