// See autocast.h.
#include "dispatch/autocast.h"

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "autograd/node.h"
#include "dispatch/kernels.h"
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

/// A weight that was cast ahead, until to_dtype takes it.
struct Ahead {
  Tensor cast;
  uint32_t version;
  Stream* stream;
  uint64_t capture;
};
using CastsAhead = std::unordered_map<const TensorImpl*, Ahead>;

thread_local int t_depth = 0;
thread_local std::unique_ptr<Casts> t_casts;
thread_local std::unique_ptr<CastsAhead> t_ahead;
// Addresses of the weights that the region before cast: no more than a guess at what this one will, since a
// weight may be gone and its address another's.
thread_local std::unique_ptr<std::unordered_set<const TensorImpl*>> t_cast_before;

uint64_t capture_of(const Stream& stream) {
  return stream.capturing() ? stream.device().captures().begun() : 0;
}

bool is_weight(const Tensor& t) { return t.requires_grad() && is_leaf(t) && !t->is_view; }

Tensor cast(const Tensor& t, DType dtype) {
  OpCall call(Op::to_dtype);
  call.add_tensor(t);
  call.add_number(static_cast<int>(dtype));
  dispatch(call);
  return call.outputs[0];
}

/// A weight is cast once; what operators made, and leaves without gradients, each time.
Tensor cast_or_kept(const Tensor& t, DType dtype) {
  if (!is_weight(t)) return cast(t, dtype);
  Stream& stream = current_stream(t.device());
  const uint64_t capture = capture_of(stream);
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
  if (--t_depth != 0) return;
  if (t_casts && !t_casts->empty()) {
    if (!t_cast_before) t_cast_before = std::make_unique<std::unordered_set<const TensorImpl*>>();
    t_cast_before->clear();
    for (const auto& [weight, kept] : *t_casts) {
      if (is_half(kept.dtype)) t_cast_before->insert(weight);
    }
  }
  t_casts.reset();
  t_ahead.reset();
}

void cast_ahead(std::span<const Tensor> weights) {
  if (!on() || !t_cast_before) return;
  const DType dtype = low_dtype();
  std::vector<Tensor> from, to;
  std::vector<OptimParam> list;
  for (const Tensor& t : weights) {
    if (!t || !is_weight(t) || t.dtype() != DType::kF32 || !t.is_contiguous() || t.numel() == 0)
      continue;
    if (!t_cast_before->contains(t.impl()) || (t_casts && t_casts->contains(t.impl()))) continue;
    if (t_ahead && t_ahead->contains(t.impl())) continue;
    // One that an all-gather still brings is cast where it is first used: all others need not wait for it.
    if (t->storage->late_write() != nullptr) continue;
    if (!from.empty() && &t.device() != &from[0].device()) continue;
    from.push_back(t);
    to.push_back(empty(t.shape(), dtype, t.device()));
    list.push_back({to.back().data(), t.data(), nullptr, nullptr, t.numel(), dtype});
  }
  if (from.size() < 2) return;
  Device& device = from[0].device();
  Stream& stream = current_stream(device);
  for (const Tensor& t : from) t->storage->use_on(stream);
  const KernelTable& table = kernels(device);
  if (table.cast_list == nullptr) return;
  table.cast_list(list.data(), static_cast<int>(list.size()), stream);
  if (!t_ahead) t_ahead = std::make_unique<CastsAhead>();
  const uint64_t capture = capture_of(stream);
  for (size_t i = 0; i < from.size(); ++i) {
    t_ahead->insert_or_assign(from[i].impl(),
                              Ahead{to[i], from[i]->storage->version(), &stream, capture});
  }
}

Tensor take_cast(const Tensor& t, DType dtype) {
  if (!t_ahead || !on()) return {};
  const auto it = t_ahead->find(t.impl());
  if (it == t_ahead->end()) return {};
  const Ahead ahead = std::move(it->second);
  t_ahead->erase(it);
  Stream& stream = current_stream(t.device());
  const bool holds = ahead.cast.dtype() == dtype && ahead.version == t->storage->version() &&
                     ahead.stream == &stream && ahead.capture == capture_of(stream);
  return holds ? ahead.cast : Tensor();
}

void cast_operands(OpCall& call, AutocastClass cls) {
  if (cls == AutocastClass::keep || cls >= AutocastClass::rounded_sum) return;
  const DType wanted = cls == AutocastClass::low ? low_dtype() : DType::kF32;
  for (Tensor& t : call.tensors) {
    if (t && castable(t) && t.dtype() != wanted) t = cast_or_kept(t, wanted);
  }
}

}  // namespace weft::autocast
