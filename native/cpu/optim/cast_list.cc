// cast_list: a list of f32 weights in f16 or bf16, in one pass. Called through the kernel table by regions of mixed
// precision (dispatch/autocast.h).
#include "cpu/optim/param_chunks.h"
#include "cpu/register.h"
#include "fabric/half.h"

namespace weft::cpu {
namespace {

template <typename T>
void cast_chunk(const OptimParam& p, const ParamChunk& chunk) {
  const auto* from = static_cast<const float*>(p.grad) + chunk.begin;
  auto* to = static_cast<T*>(p.param) + chunk.begin;
  for (int64_t i = 0; i < chunk.count; ++i) to[i] = T(from[i]);
}

}  // namespace

void cast_list(const OptimParam* casts, int count, Stream& stream) {
  for (int i = 0; i < count; ++i) {
    if (!is_half(casts[i].dtype))
      fail(ErrorCode::kDtype, "cast_list: %s is not f16 or bf16", dtype_name(casts[i].dtype));
  }
  fabric::host::enqueue(stream.handle(), [list = std::vector<OptimParam>(casts, casts + count)] {
    for_each_chunk(cut_params(list), [&](int64_t, const ParamChunk& chunk) {
      const OptimParam& p = list[chunk.param];
      p.dtype == DType::kF16 ? cast_chunk<fabric::F16>(p, chunk)
                             : cast_chunk<fabric::BF16>(p, chunk);
    });
  });
}

}  // namespace weft::cpu
