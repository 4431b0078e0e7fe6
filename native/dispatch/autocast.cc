// See autocast.h.
#include "dispatch/autocast.h"

#include <memory>
#include <unordered_map>

#include "autograd/node.h"
#include "fabric/device.h"

namespace weft::autocast {
namespace {

/// A kept cast and what it holds for.
struct Kept {
  Tensor source;  // keeps the address, which is the key, from being given away
  Tensor cast;
  uint32_t version;
  DType dtype;
  bool recorded;
  Stream* stream;
  uint64_t capture;  // which of the device's captures it was made in, 0 outside
};
using Casts = std::unordered_map<const TensorImpl*, Kept>;

thread_local int t_depth = 0;
thread_local std::unique_ptr<Casts> t_casts;

Tensor cast(const Tensor& t, DType dtype) {
  OpCall call(Op::to_dtype);
  call.add_tensor(t);
  call.add_number(static_cast<int>(dtype));
  dispatch(call);
  return call.outputs[0];
}

/// A weight is cast once; what operators made, and leaves without gradients, each time.
Tensor cast_or_kept(const Tensor& t, DType dtype) {
  if (!t.requires_grad() || !is_leaf(t) || t->is_view) return cast(t, dtype);
  Stream& stream = current_stream(t.device());
  const uint64_t capture = stream.capturing() ? t.device().captures().begun() : 0;
  if (!t_casts) t_casts = std::make_unique<Casts>();
  const uint32_t version = t->storage->version();
  auto [it, fresh] = t_casts->try_emplace(t.impl());
  Kept& kept = it->second;
  if (!fresh && kept.version == version && kept.dtype == dtype && kept.recorded == grad_enabled() &&
      kept.stream == &stream && kept.capture == capture) {
    return kept.cast;
  }
  Tensor made;
  try {
    made = cast(t, dtype);
  } catch (...) {
    if (fresh) t_casts->erase(t.impl());
    throw;
  }
  kept = {t, made, version, dtype, grad_enabled(), &stream, capture};
  return made;
}

bool castable(const Tensor& t) { return t.dtype() == DType::kF32 || is_half(t.dtype()); }

}  // namespace

Mode enter(Mode mode) {
  const Mode previous = t_mode;
  ++t_depth;
  t_mode = mode;
  return previous;
}

void leave(Mode previous) {
  t_mode = previous;
  if (--t_depth == 0) t_casts.reset();
}

void cast_operands(OpCall& call, AutocastClass cls) {
  if (cls == AutocastClass::keep || cls >= AutocastClass::rounded_sum) return;
  const DType wanted = cls == AutocastClass::low ? low_dtype() : DType::kF32;
  for (Tensor& t : call.tensors) {
    if (t && castable(t) && t.dtype() != wanted) t = cast_or_kept(t, wanted);
  }
}

}  // namespace weft::autocast
