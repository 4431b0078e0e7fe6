// The same values elsewhere: another dtype, another device, contiguous memory, a copy. Called by
// rows, by formulas and by the engine when it adds gradients.
#include "dispatch/autocast.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"
#include "fabric/path_counters.h"
#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {

void launch_cast(const Tensor& out, const Tensor& in, const char* name) {
  if (out.numel() == 0) return;
  auto run = kernel(kernels(out.device()).cast, name, out.device());
  run(TensorIterator::build({&out, &in}, name), stream_for(out, in));
}

Tensor to_dtype(const Tensor& a, DType dtype) {
  if (a.dtype() == dtype) return a;
  Tensor out = empty(a.shape(), dtype, a.device());
  launch_cast(out, a, "to_dtype");
  return out;
}

Tensor contiguous(const Tensor& a) { return a.is_contiguous() ? a : clone(a); }

Tensor clone(const Tensor& a) {
  Tensor out = empty(a.shape(), a.dtype(), a.device());
  launch_cast(out, a, "clone");
  return out;
}

namespace {

/// Bytes of `from` into `to`, both contiguous and of one dtype and size, on two devices. The copy
/// waits for the source's stream and the destination's stream waits for it; the host waits for
/// nothing.
void transfer(const Tensor& to, const Tensor& from) {
  if (from.numel() == 0) return;
  Stream& from_stream = stream_for(from);
  Stream& to_stream = stream_for(to);
  const size_t bytes = static_cast<size_t>(from.numel()) * dtype_bytes(from.dtype());
  Stream& used = fabric::transfer(to.data(), to_stream, from.data(), from_stream, bytes);
  from->storage->use_on(used);
  to->storage->use_on(used);
}

/// A kernel of `to`'s device takes `from` out of the memory of a peer, whatever the layouts and
/// dtypes: it waits for the work on `from`, and what follows there waits for it, as for a copy.
void read_peer(const Tensor& to, const Tensor& from, const char* name) {
  Stream& here = current_stream(to.device());
  Stream& there = current_stream(from.device());
  fabric::order_after(here, there);
  launch_cast(to, from, name);
  fabric::order_after(there, here);
  const uint64_t bytes = static_cast<uint64_t>(from.numel()) * dtype_bytes(from.dtype());
  fabric::path_counters::count(fabric::Path::kPeerRead, bytes);
  fabric::event_log::log(fabric::EventKind::kCopy, to.device().index(), here.id(),
                         from.device().index(), bytes, 0);
}

/// One kernel over the link instead of up to three passes: a contiguous copy, the transfer and the
/// cast or placing. Plain bytes are the copy engine's.
bool reads_peer(const Tensor& to, const Tensor& from) {
  const bool plain = to.is_contiguous() && from.is_contiguous() && to.dtype() == from.dtype();
  return !plain && to.numel() == from.numel() && from.numel() != 0 &&
         fabric::enable_peer(to.device(), from.device());
}

}  // namespace

Tensor to_device(const Tensor& a, Device& device) {
  if (&a.device() == &device) return a;
  Tensor from = contiguous(a);
  Tensor out = empty(a.shape(), a.dtype(), device);
  transfer(out, from);
  return out;
}

void copy_(const Tensor& a, const Tensor& b) {
  if (a.same(b)) return;
  if (!broadcastable_to(b.shape(), a.shape())) [[unlikely]] {
    fail(ErrorCode::kShape,
         "copy_: shape %s does not broadcast to %s, the shape of the changed tensor",
         to_string(b.shape()).c_str(), to_string(a.shape()).c_str());
  }
  if (&a.device() == &b.device()) {
    launch_cast(a, b, "copy_");
  } else if (reads_peer(a, b)) {
    read_peer(a, b, "copy_");
  } else if (a.is_contiguous() && a.dtype() == b.dtype() && a.numel() == b.numel()) {
    transfer(a, contiguous(b));
  } else {
    launch_cast(a, to_device(b, a.device()), "copy_");
  }
}

void register_conversion_ops() {
  implement(Op::to_dtype, {.forward =
                               [](OpCall& call) {
                                 const Tensor& a = call.tensor(0);
                                 Tensor ahead = autocast::take_cast(a, call.dtype(1));
                                 if (ahead) return call.result(std::move(ahead));
                                 call.result(fresh(to_dtype(a, call.dtype(1)), a));
                               },
                           .gradient = [](GradCall& call) { give(call, 0, call.grad()); }});
  implement(Op::to_device,
            {.forward =
                 [](OpCall& call) {
                   const Tensor& a = call.tensor(0);
                   call.result(fresh(to_device(a, call.device(1)), a));
                 },
             .gradient =
                 [](GradCall& call) { call.set(0, to_device(call.grad(), call.input_device(0))); },
             .policy = DevicePolicy::kAny});
  implement(Op::contiguous, {.forward =
                                 [](OpCall& call) {
                                   const Tensor& a = call.tensor(0);
                                   call.result(fresh(contiguous(a), a));
                                 },
                             .gradient = [](GradCall& call) { call.set(0, call.grad()); }});
  implement(Op::clone, {.forward = [](OpCall& call) { call.result(clone(call.tensor(0))); },
                        .gradient = [](GradCall& call) { call.set(0, call.grad()); }});
}

}  // namespace weft::ops
