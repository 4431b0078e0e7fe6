// The tensor-core kernels of attention for bf16. Called by attention_dispatch.cu.
#include "cuda/attention/backward.cuh"
#include "cuda/attention/forward.cuh"
#include "cuda/attention/whole_head/backward.cuh"
#include "cuda/attention/whole_head/forward.cuh"

namespace weft::cuda {

void attention_forward_bf16(const AttentionLaunch& launch) {
  attention::forward<__nv_bfloat16>(launch);
}
void attention_backward_bf16(const AttentionLaunch& launch) {
  attention::backward<__nv_bfloat16>(launch);
}

void attention_whole_forward_bf16(const AttentionLaunch& launch) {
  attention::whole_head::forward<__nv_bfloat16>(launch);
}
void attention_whole_backward_bf16(const AttentionLaunch& launch) {
  attention::whole_head::backward<__nv_bfloat16>(launch);
}

}  // namespace weft::cuda
