// Typed forwards of every operator: they check, allocate and launch, and never record gradients.
// Gradient formulas and other native code call these; the boxed rows of the operator table wrap
// them. One subject a file: creation, elementwise, scalar, reduction, matmul, activation,
// normalization, loss, embedding, attention, views, joining, conversion, inplace, optimizer.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"
#include "dispatch/kernels.h"

namespace weft::ops {

// creation.cc: on the current stream of `device`
Tensor full(const Dims& shape, double value, DType dtype, Device& device);
Tensor zeros_like(const Tensor& t);
Tensor arange(double start, double step, int64_t count, DType dtype, Device& device);
Tensor random(RandomArgs::Kind kind, const Dims& shape, double p0, double p1, DType dtype,
              Device& device);

// elementwise.cc: broadcast and promotion; kernels of BinaryOp/UnaryOp
Tensor binary(BinaryOp op, const Tensor& a, const Tensor& b, const char* name,
              ElementParams params = {});
Tensor unary(UnaryOp op, const Tensor& a, const char* name, ElementParams params = {});
/// Tensor with a number: the result dtype follows promote_scalar, comparisons give bool.
Tensor with_scalar(UnaryOp op, const Tensor& a, double number, const char* name);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor neg(const Tensor& a);
Tensor mul_scalar(const Tensor& a, double b);
Tensor add_scalar(const Tensor& a, double b);

// reduction.cc: empty dims = all
Tensor reduce(ReduceKind kind, const Tensor& a, const Dims& dims, bool keep_dim, const char* name,
              double correction = 0);
Tensor sum(const Tensor& a, const Dims& dims, bool keep_dim);
/// Sums the dimensions that broadcasting added, so that the result has `shape`; `t` itself when
/// equal.
Tensor sum_to(const Tensor& t, const Dims& shape);

// matmul.cc
Tensor matmul(const Tensor& a, const Tensor& b);
/// x (..., in) · weightᵀ (in, out) + bias, weight (out, in); with gelu, pre_activation gets the
/// values before it.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool gelu,
              Tensor* pre_activation);

// views.cc: no data moves unless said
Tensor view(const Tensor& a,
            const Dims& shape);  ///< throws ShapeError when strides do not allow it
Tensor reshape(const Tensor& a,
               const Dims& shape);  ///< copies when a view is impossible; one -1 allowed
Tensor transpose(const Tensor& a, int64_t dim0, int64_t dim1);
Tensor permute(const Tensor& a, const Dims& dims);
Tensor select(const Tensor& a, int64_t dim, int64_t index);
Tensor narrow(const Tensor& a, int64_t dim, int64_t start, int64_t length);
Tensor slice(const Tensor& a, int64_t dim, int64_t start, int64_t stop, int64_t step);
Tensor expand(const Tensor& a, const Dims& shape);  ///< -1 keeps a size
Tensor squeeze(const Tensor& a, const Dims& dims);  ///< empty: every dimension of size 1
Tensor unsqueeze(const Tensor& a, int64_t dim);

// joining.cc
Tensor cat(std::span<const Tensor> tensors, int64_t dim);
/// The same on `device`, wherever the tensors lie.
Tensor cat_to(std::span<const Tensor> tensors, int64_t dim, Device& device);
Tensor stack(std::span<const Tensor> tensors, int64_t dim);

// conversion.cc
Tensor to_dtype(const Tensor& a, DType dtype);  ///< `a` itself when equal
Tensor to_device(const Tensor& a,
                 Device& device);    ///< `a` itself when equal; ordered by events, never waits
Tensor contiguous(const Tensor& a);  ///< `a` itself when it is
Tensor clone(const Tensor& a);       ///< always new, contiguous memory

// inplace.cc: shapes broadcast to `a`, dtype of `a` stays; no version bump (dispatch does it)
void binary_(BinaryOp op, const Tensor& a, const Tensor& b, const char* name);
void scalar_(UnaryOp op, const Tensor& a, double number, const char* name);
void copy_(const Tensor& a, const Tensor& b);  ///< casts, broadcasts; across devices too
void fill_(const Tensor& a, double value);

// Registration of the boxed rows, one function a file
void register_creation_ops();
void register_elementwise_ops();
void register_scalar_ops();
void register_unary_ops();
void register_reduction_ops();
void register_matmul_ops();
void register_normalization_ops();
void register_loss_ops();
void register_embedding_ops();
void register_attention_ops();
void register_view_ops();
void register_joining_ops();
void register_conversion_ops();
void register_inplace_ops();
void register_optimizer_ops();

}  // namespace weft::ops
