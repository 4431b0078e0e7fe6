// What a leaf asks for and holds: the flag, the gradient, its hooks. Called by the binding, the
// engine's accumulation and the reducer.
//
// Design. Several threads may use one leaf at once: record graphs over it, run backward passes that
// accumulate into it, read or replace its gradient, add and remove hooks. A mutex by address
// (stripes, shared by unrelated leaves) guards the gradient and its marks and makes the accumulator;
// it is held while an accumulation is enqueued and never while a hook runs. The flag is set last,
// with release: a recorder that sees it finds the accumulator without a lock.
//  - Order on the device: accumulations run on the stream that was current where backward() was
//    called. Threads that use different ones for one leaf must order them by events.
//  - What breaks it: changing a leaf in place with recording on while another thread records over it.
#pragma once

#include <mutex>

#include "autograd/node.h"

namespace weft {

/// Asks for (or ends) gradients of a leaf. Throws UsageError on a non-leaf, DtypeError on a dtype
/// that is not floating.
void set_requires_grad(const Tensor& leaf, bool requires_grad);

/// The gradient, undefined when there is none or what lies in its memory is out of date.
Tensor leaf_grad(const Tensor& leaf);
/// Makes `grad` the gradient; undefined drops it.
void replace_grad(const Tensor& leaf, Tensor grad);
/// Fills the gradient with zeros, if there is one.
void zero_grad(const Tensor& leaf);

/// Makes `memory` the place of the gradient. Stale: what lies there is no gradient yet and is
/// overwritten by the next accumulation; else it is the gradient.
void lend_grad(const Tensor& leaf, const Tensor& memory, bool stale);
/// Until open_grad(), accumulating into the leaf's gradient is a UsageError saying `why` (a literal).
void close_grad(const Tensor& leaf, const char* why);
void open_grad(const Tensor& leaf);

/// Runs `hook` after each backward pass has accumulated into the leaf's grad. Throws UsageError on
/// a non-leaf.
HookHandle add_leaf_hook(const Tensor& leaf, LeafHook hook);
bool has_leaf_hooks(const Tensor& leaf);

/// The mutex of a leaf's gradient, for accumulate.cc.
std::mutex& leaf_mutex(const TensorImpl* leaf);

}  // namespace weft
