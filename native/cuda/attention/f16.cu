// The tensor-core kernels of attention for f16. Called by attention_dispatch.cu.
#include "cuda/attention/backward.cuh"
#include "cuda/attention/forward.cuh"
#include "cuda/attention/whole_head/backward.cuh"
#include "cuda/attention/whole_head/forward.cuh"

namespace weft::cuda {

void attention_forward_f16(const AttentionLaunch& launch) { attention::forward<__half>(launch); }
void attention_backward_f16(const AttentionLaunch& launch) { attention::backward<__half>(launch); }

void attention_whole_forward_f16(const AttentionLaunch& launch) {
  attention::whole_head::forward<__half>(launch);
}
void attention_whole_backward_f16(const AttentionLaunch& launch) {
  attention::whole_head::backward<__half>(launch);
}

}  // namespace weft::cuda
