// Checks that several subjects of native/ops share: kernel entries, floating operands, index
// operands. Called by the typed forwards.
#include "ops/launch.h"

#include "ops/ops.h"

namespace weft::ops {

void missing_kernel(const char* name, const Device& device) {
  fail(ErrorCode::kDevice, "%s has no kernel on %s", name, device.driver().name());
}

void require_floating(const Tensor& t, const char* name, const char* what) {
  if (!is_floating(t.dtype())) [[unlikely]] {
    fail(ErrorCode::kDtype, "%s: %s has dtype %s and must be floating (f32, f64, f16 or bf16)",
         name, what, dtype_name(t.dtype()));
  }
}

Tensor index_tensor(const Tensor& t, const char* name, const char* what) {
  if (t.dtype() == DType::kI64) return t;
  if (t.dtype() == DType::kI32) return to_dtype(t, DType::kI64);
  fail(ErrorCode::kDtype, "%s: %s has dtype %s and must be i64 or i32", name, what,
       dtype_name(t.dtype()));
}

}  // namespace weft::ops
