// The last steps of every typed forward: the kernel entry of the tensor's driver, the stream it
// runs on, and telling the allocator about operands that belong to another stream. Used by
// native/ops only.
#pragma once

#include "core/tensor.h"
#include "dispatch/kernels.h"
#include "iter/tensor_iterator.h"

namespace weft::ops {

[[noreturn]] void missing_kernel(const char* name, const Device& device);

/// `entry` itself, or DeviceError when the driver of `device` lacks it.
template <typename F>
F kernel(F entry, const char* name, const Device& device) {
  if (entry == nullptr) [[unlikely]]
    missing_kernel(name, device);
  return entry;
}

inline void use_on(Stream& stream, const Tensor& t) {
  if (t.defined()) t->storage->use_on(stream);
}

/// The current stream of the first operand's device, noted with every operand that is defined.
template <typename... T>
Stream& stream_for(const Tensor& first, const T&... others) {
  Stream& stream = current_stream(first.device());
  use_on(stream, first);
  (use_on(stream, others), ...);
  return stream;
}

/// A result that was allocated in one shape and is shown in another: nobody else holds its memory,
/// so it is no view of anything.
inline Tensor as_own(Tensor t) {
  t->is_view = false;
  return t;
}

/// out = op(in) on new memory of dtype `result`; `in` has the dtype to compute in already.
Tensor launch_unary(UnaryOp op, const Tensor& in, DType result, ElementParams params,
                    const char* name);
/// out = cast of `in`, any layouts; broadcasts `in` to the shape of `out`.
void launch_cast(const Tensor& out, const Tensor& in, const char* name);

/// Throws DtypeError naming `name` unless `t` is floating.
void require_floating(const Tensor& t, const char* name, const char* what);
/// i64 indices as they are, i32 cast; any other dtype is a DtypeError.
Tensor index_tensor(const Tensor& t, const char* name, const char* what);

}  // namespace weft::ops
