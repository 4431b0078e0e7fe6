// The host driver's kernels by the names of the kernel table (dispatch/kernels.h), one subject a
// file beside this one. Start-up calls register_cpu_kernels() before the first operator runs.
#pragma once

#include "dispatch/kernels.h"

namespace weft {

void register_cpu_kernels();

namespace cpu {

void unary(UnaryOp op, const TensorIterator& it, ElementParams params, Stream& stream);
void binary(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream);
void ternary(TernaryOp op, const TensorIterator& it, Stream& stream);
void fill(const TensorIterator& out, double value, Stream& stream);
void cast(const TensorIterator& it, Stream& stream);
void range(const RangeArgs& args, Stream& stream);
void random(const RandomArgs& args, Stream& stream);
void reduce(const ReduceArgs& args, Stream& stream);
void gemm(const GemmArgs& args, Stream& stream);
void softmax_forward(const SoftmaxArgs& args, Stream& stream);
void softmax_backward(const SoftmaxArgs& args, Stream& stream);
void cross_entropy_forward(const CrossEntropyArgs& args, Stream& stream);
void cross_entropy_backward(const CrossEntropyArgs& args, Stream& stream);
void norm_forward(const NormArgs& args, Stream& stream);
void norm_backward(const NormArgs& args, Stream& stream);
void embedding_forward(const EmbeddingArgs& args, Stream& stream);
void embedding_backward(const EmbeddingArgs& args, Stream& stream);
void gather_forward(const GatherArgs& args, Stream& stream);
void gather_backward(const GatherArgs& args, Stream& stream);
void attention_forward(const AttentionArgs& args, Stream& stream);
void attention_backward(const AttentionArgs& args, Stream& stream);
void rotary(const RotaryArgs& args, Stream& stream);
void sgd(const OptimParam* params, int count, const SgdArgs& args, Stream& stream);
void cast_list(const OptimParam* casts, int count, Stream& stream);
void adamw(const OptimParam* params, int count, const AdamWArgs& args, Stream& stream);
void grad_norm(const OptimParam* params, int count, float* norm, Stream& stream);
void grad_clip(const OptimParam* params, int count, const float* norm, double max_norm,
               Stream& stream);
void amp_unscale(const OptimParam* params, int count, ScalerState* scaler, SkipRecord* record,
                 Stream& stream);
void amp_update(ScalerState* scaler, const AmpUpdateArgs& args, Stream& stream);
void store(uint64_t* dst, const uint64_t* words, int count, Stream& stream);

}  // namespace cpu
}  // namespace weft
