// A list of parameters cut into chunks of fixed size that threads take in any order: how the fused
// optimizer steps, the gradient norm and the clip walk over all parameters in one pass. Borders
// depend on the counts alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "dispatch/kernels.h"
#include "fabric/host_queue.h"

namespace weft::cpu {

inline constexpr int64_t kParamChunk = 8192;

struct ParamChunk {
  int param;
  int64_t begin, count;
};

inline std::vector<ParamChunk> cut_params(const std::vector<OptimParam>& params) {
  std::vector<ParamChunk> chunks;
  for (size_t p = 0; p < params.size(); ++p)
    for (int64_t at = 0; at < params[p].count; at += kParamChunk)
      chunks.push_back({static_cast<int>(p), at, std::min(kParamChunk, params[p].count - at)});
  return chunks;
}

/// body(chunk index, chunk) for every chunk, in parallel.
template <typename F>
void for_each_chunk(const std::vector<ParamChunk>& chunks, F body) {
  fabric::host::parallel_for(static_cast<int64_t>(chunks.size()), 2,
                             [&](int64_t begin, int64_t end) {
                               for (int64_t i = begin; i < end; ++i) body(i, chunks[i]);
                             });
}

/// Throws DtypeError unless every parameter is floating.
inline void check_param_dtypes(const OptimParam* params, int count, const char* op) {
  for (int i = 0; i < count; ++i)
    if (!is_floating(params[i].dtype))
      fail(ErrorCode::kDtype, "%s: parameter %d has dtype %s, which is not floating", op, i,
           dtype_name(params[i].dtype));
}

}  // namespace weft::cpu
