// Hopper's kernels of attention for bf16. Called by attention/dispatch.cu; compiled for 90a alone.
#include "cuda/attention/sm90/backward.cuh"
#include "cuda/attention/sm90/forward.cuh"

namespace weft::cuda {

void attention_forward_sm90_bf16(const AttentionLaunch& launch) {
  attention::sm90::forward<__nv_bfloat16>(launch);
}
void attention_backward_sm90_bf16(const AttentionLaunch& launch) {
  attention::sm90::backward<__nv_bfloat16>(launch);
}

}  // namespace weft::cuda
