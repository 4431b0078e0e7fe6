// grad_norm and grad_clip: the norm over all gradients of a model, and the scaling that brings it
// under a bound (Pascanu et al. 2013; torch.nn.utils.clip_grad_norm_). Called through the kernel
// table. Chunk sums are combined in order, so the norm has the same bits for any thread count.
#include <cmath>

#include "cpu/elementwise/lanes.h"
#include "cpu/optim/param_chunks.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"

namespace weft::cpu {
namespace {

template <typename T>
double sum_of_squares(const OptimParam& p, const ParamChunk& chunk) {
  T* scratch = is_half(p.dtype) ? thread_scratch<T>(0, kParamChunk) : nullptr;
  const T* g = read_panel<T>(p.dtype, p.grad, chunk.begin, chunk.count, scratch);
  return lane_dot(chunk.count, g, g);
}

template <typename T>
void scale(const OptimParam& p, const ParamChunk& chunk, double factor) {
  T* scratch = is_half(p.dtype) ? thread_scratch<T>(0, kParamChunk) : nullptr;
  void* grad = const_cast<void*>(p.grad);  // the one kernel that writes gradients of the list
  T* g = const_cast<T*>(read_panel<T>(p.dtype, grad, chunk.begin, chunk.count, scratch));
  const T by = static_cast<T>(factor);
  for (int64_t i = 0; i < chunk.count; ++i) g[i] *= by;
  store_panel<T>(p.dtype, grad, chunk.begin, chunk.count, g);
}

}  // namespace

void grad_norm(const OptimParam* params, int count, float* norm, Stream& stream) {
  check_param_dtypes(params, count, "grad_norm");
  fabric::host::enqueue(stream.handle(),
                        [list = std::vector<OptimParam>(params, params + count), norm] {
                          const auto chunks = cut_params(list);
                          std::vector<double> sums(chunks.size());
                          for_each_chunk(chunks, [&](int64_t i, const ParamChunk& chunk) {
                            const OptimParam& p = list[chunk.param];
                            sums[i] = p.dtype == DType::kF64 ? sum_of_squares<double>(p, chunk)
                                                             : sum_of_squares<float>(p, chunk);
                          });
                          double total = 0;
                          for (double s : sums) total += s;
                          *norm = static_cast<float>(std::sqrt(total));
                        });
}

void grad_clip(const OptimParam* params, int count, const float* norm, double max_norm,
               Stream& stream) {
  check_param_dtypes(params, count, "grad_clip");
  fabric::host::enqueue(
      stream.handle(), [list = std::vector<OptimParam>(params, params + count), norm, max_norm] {
        const double wanted = max_norm / (static_cast<double>(*norm) + 1e-6);
        if (wanted >= 1) return;  // NaN goes on and makes the gradients NaN, as in PyTorch
        const auto chunks = cut_params(list);
        for_each_chunk(chunks, [&](int64_t, const ParamChunk& chunk) {
          const OptimParam& p = list[chunk.param];
          p.dtype == DType::kF64 ? scale<double>(p, chunk, wanted) : scale<float>(p, chunk, wanted);
        });
      });
}

}  // namespace weft::cpu
