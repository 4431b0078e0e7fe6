// What gradient formulas of several subjects share: bringing a gradient to the shape and dtype of
// the input that it belongs to. Used by native/ops only.
#pragma once

#include "dispatch/op_table.h"
#include "ops/ops.h"

namespace weft::ops {

/// Sets the gradient of input `i` to `g`, summed over broadcast dimensions and cast to its dtype.
inline void give(GradCall& call, int i, const Tensor& g) {
  call.set(i, to_dtype(sum_to(g, call.input_shape(i)), call.input_dtype(i)));
}

/// Zeros like input `i` of the call.
inline Tensor zeros_for(const GradCall& call, int i) {
  return full(call.input_shape(i), 0, call.input_dtype(i), call.input_device(i));
}

/// Another handle on the same memory: a row must not return an argument itself, since the result
/// gets a gradient history of its own.
inline Tensor alias(const Tensor& t) { return make_view(t, t.shape(), t.strides(), t->offset); }
inline Tensor fresh(Tensor result, const Tensor& argument) {
  return result.same(argument) ? alias(result) : result;
}

// Rows that have a file of their own but no place in ops.h; the subject named behind calls them.
void register_add_norm_ops();              // normalization
void register_softmax_ops();               // normalization
void register_linear_ops();                // matmul
void register_dropout_ops();               // embedding
void register_rotary_ops();                // attention
void register_linear_cross_entropy_ops();  // loss

}  // namespace weft::ops
