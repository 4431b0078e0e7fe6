// The tensor-core kernels of attention for f32-as-TF32. Called by attention_dispatch.cu.
#include "cuda/attention/backward.cuh"
#include "cuda/attention/forward.cuh"
#include "cuda/attention/whole_head/backward.cuh"
#include "cuda/attention/whole_head/forward.cuh"

namespace weft::cuda {

void attention_forward_tf32(const AttentionLaunch& launch) { attention::forward<float>(launch); }
void attention_backward_tf32(const AttentionLaunch& launch) { attention::backward<float>(launch); }

void attention_whole_forward_tf32(const AttentionLaunch& launch) {
  attention::whole_head::forward<float>(launch);
}
void attention_whole_backward_tf32(const AttentionLaunch& launch) {
  attention::whole_head::backward<float>(launch);
}

}  // namespace weft::cuda
