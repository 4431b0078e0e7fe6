// Attention on CUDA devices: its entry points (called through the kernel table) and the launches
// that they choose from. dispatch.cu owns the choice; sm90/ holds Hopper's kernels,
// {bf16,f16,tf32}.cu the tensor-core kernels of every architecture, simt.cu the plain ones.
#pragma once

#include <cuda_runtime_api.h>

#include "dispatch/kernels.h"

namespace weft::cuda {

void attention_forward(const AttentionArgs& args, Stream& stream);
void attention_backward(const AttentionArgs& args, Stream& stream);

/// One pass as the device sees it.
struct AttentionLaunch {
  AttentionArgs args;
  float* delta;  ///< backward, tensor cores: (batch, heads, q_len), grad_out · out a row
  void* stats;   ///< backward, plain: twice (batch, heads, q_len) of the type computed in;
                 ///< Hopper: an AttentionSummary for each 64 queries of a head
  bool aligned;  ///< rows of every operand begin and end at multiples of 16 bytes
  cudaStream_t stream;
  int ordinal;
  int multiprocessors;  ///< of the GPU
};

// Width at most 128. f32 operands are rounded to TF32.
void attention_forward_bf16(const AttentionLaunch& launch);
void attention_forward_f16(const AttentionLaunch& launch);
void attention_forward_tf32(const AttentionLaunch& launch);
void attention_backward_bf16(const AttentionLaunch& launch);
void attention_backward_f16(const AttentionLaunch& launch);
void attention_backward_tf32(const AttentionLaunch& launch);

// The same for short sequences with narrow heads (whole_head/); no scratch.
void attention_whole_forward_bf16(const AttentionLaunch& launch);
void attention_whole_forward_f16(const AttentionLaunch& launch);
void attention_whole_forward_tf32(const AttentionLaunch& launch);
void attention_whole_backward_bf16(const AttentionLaunch& launch);
void attention_whole_backward_f16(const AttentionLaunch& launch);
void attention_whole_backward_tf32(const AttentionLaunch& launch);

/// What the softmax of 64 queries of a head leaves to its gradient on Hopper, made first in the
/// backward pass: in units of log2, infinite for a row that sees no key or is past the end, whose
/// weights are then 0; and grad_out · out.
struct AttentionSummary {
  static constexpr int kQueries = 64;
  float lse[kQueries];
  float delta[kQueries];
};

#ifdef WEFT_ATTENTION_SM90
// Compute capability 9.0, width at most 128, `aligned`, what sm90/tensor_map.h can map.
void attention_forward_sm90_bf16(const AttentionLaunch& launch);
void attention_forward_sm90_f16(const AttentionLaunch& launch);
void attention_backward_sm90_bf16(const AttentionLaunch& launch);
void attention_backward_sm90_f16(const AttentionLaunch& launch);
#endif

/// Whether Hopper's kernels are taken where they can be (the default; off to compare with the kernels
/// for every GPU). Of the process; not for use beside running calls.
void use_sm90_attention(bool on);
/// The same of the kernels that take a head whole.
void use_whole_head_attention(bool on);

// Any dtype; f64 in f64, all others in f32.
void attention_forward_simt(const AttentionLaunch& launch);
void attention_backward_simt(const AttentionLaunch& launch);

}  // namespace weft::cuda
