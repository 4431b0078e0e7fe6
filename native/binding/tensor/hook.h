// JavaScript functions as autograd hooks. Called by autograd.cc; the engine runs hooks on the
// thread that called backward, which must be the environment's own.
#pragma once

#include "autograd/node.h"
#include "binding/entry.h"

namespace weft::binding {

/// The function at argument `i` as a hook on gradients: takes a handle that it may not keep,
/// returns 0 (unchanged), a handle (replacement, borrowed) or minus a handle (replacement, released
/// after use).
TensorHook make_tensor_hook(Frame& frame, size_t i);
/// The function at argument `i` as a hook without arguments.
LeafHook make_leaf_hook(Frame& frame, size_t i);

/// The function at argument `i`, called with the number of inputs, whose handles lie in the call buffer
/// and are its own from then on.
std::function<void(std::span<const Tensor>)> make_again(Frame& frame, size_t i);

/// A JavaScript value that removes the hook (removeHook); collecting it removes nothing.
napi_value make_hook_handle(Frame& frame, HookHandle handle);
/// The handle in argument `i`; UsageError when it is none.
HookHandle& hook_handle(Frame& frame, size_t i);

}  // namespace weft::binding
