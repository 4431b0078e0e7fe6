// Elementwise operators of two or three tensors: broadcast, promotion, launch. The rows and
// gradient formulas are in elementwise_rows.cc; formulas of other subjects call the typed functions
// too.
#include "ops/launch.h"
#include "ops/ops.h"

namespace weft::ops {
namespace {

struct Types {
  DType compute;
  DType result;
};

Types binary_types(BinaryOp op, DType a, DType b, const char* name) {
  DType common = promote(a, b);
  const ElementKind kind = kind_of(op);
  if (kind == ElementKind::kCompare) return {common, DType::kBool};
  if (kind == ElementKind::kFloating && !is_floating(common)) common = DType::kF32;
  switch (op) {
    case BinaryOp::kSub:
      if (common == DType::kBool) [[unlikely]] {
        fail(ErrorCode::kDtype, "%s: both tensors are bool; use ne or logical_not", name);
      }
      return {common, common};
    case BinaryOp::kPow:
      if (common == DType::kBool) common = DType::kI64;
      return {common, common};
    default:
      return {common, common};
  }
}

/// Whether the kernels take f32 and 16 bits as they are: a residual's sum in a region of mixed precision.
bool adds_mixed(BinaryOp op, const Tensor& a, const Tensor& b, DType compute) {
  auto fits = [](DType d) { return d == DType::kF32 || is_half(d); };
  return op == BinaryOp::kAdd && compute == DType::kF32 && fits(a.dtype()) && fits(b.dtype());
}

void launch_binary(BinaryOp op, const Tensor& out, const Tensor& a, const Tensor& b,
                   ElementParams params, const char* name) {
  if (out.numel() == 0) return;
  auto run = kernel(kernels(out.device()).binary, name, out.device());
  TensorIterator it = TensorIterator::build({&out, &a, &b}, name);
  run(op, it, params, stream_for(out, a, b));
}

}  // namespace

Tensor binary(BinaryOp op, const Tensor& a, const Tensor& b, const char* name,
              ElementParams params) {
  // The mask of kMaskScale selects and takes no part in promotion.
  const bool masked = op == BinaryOp::kMaskScale;
  Types types = masked ? Types{a.dtype(), a.dtype()} : binary_types(op, a.dtype(), b.dtype(), name);
  Tensor cast_a, cast_b;
  const bool as_are = adds_mixed(op, a, b, types.compute);
  if (a.dtype() != types.compute && !as_are) cast_a = to_dtype(a, types.compute);
  if (b.dtype() != types.compute && !masked && !as_are) cast_b = to_dtype(b, types.compute);
  Dims shape = a.shape() == b.shape() ? a.shape() : broadcast_shapes(a.shape(), b.shape(), name);
  Tensor out = empty(shape, types.result, a.device());
  launch_binary(op, out, cast_a ? cast_a : a, cast_b ? cast_b : b, params, name);
  return out;
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  if (condition.dtype() != DType::kBool) [[unlikely]] {
    fail(ErrorCode::kDtype, "where: condition has dtype %s and must be bool",
         dtype_name(condition.dtype()));
  }
  DType common = promote(a.dtype(), b.dtype());
  Tensor x = to_dtype(a, common);
  Tensor y = to_dtype(b, common);
  Dims shape =
      broadcast_shapes(condition.shape(), broadcast_shapes(a.shape(), b.shape(), "where"), "where");
  Tensor out = empty(shape, common, a.device());
  if (out.numel() == 0) return out;
  auto run = kernel(kernels(out.device()).ternary, "where", out.device());
  TensorIterator it = TensorIterator::build({&out, &condition, &x, &y}, "where");
  run(TernaryOp::kWhere, it, stream_for(out, condition, x, y));
  return out;
}

void binary_(BinaryOp op, const Tensor& a, const Tensor& b, const char* name) {
  if (!broadcastable_to(b.shape(), a.shape())) [[unlikely]] {
    fail(ErrorCode::kShape,
         "%s: shape %s does not broadcast to %s, the shape of the changed tensor", name,
         to_string(b.shape()).c_str(), to_string(a.shape()).c_str());
  }
  Types types = binary_types(op, a.dtype(), b.dtype(), name);
  if (is_floating(types.result) && !is_floating(a.dtype())) [[unlikely]] {
    fail(ErrorCode::kDtype,
         "%s: the result has dtype %s and cannot be kept in a tensor of dtype %s", name,
         dtype_name(types.result), dtype_name(a.dtype()));
  }
  if (a.dtype() == types.compute && b.dtype() == types.compute) {
    launch_binary(op, a, a, b, {}, name);
  } else {  // computed in the common dtype, so that nothing is rounded before the operation
    launch_cast(a, binary(op, a, b, name), name);
  }
}

Tensor add(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kAdd, a, b, "add"); }
Tensor sub(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kSub, a, b, "sub"); }
Tensor mul(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kMul, a, b, "mul"); }
Tensor div(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kDiv, a, b, "div"); }

}  // namespace weft::ops
