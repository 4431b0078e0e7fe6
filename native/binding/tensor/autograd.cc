// Gradients: what a leaf asks for and holds, the backward pass, the recording switch.
// src/autograd/gradient.ts calls these; hooks are in hook.cc.
#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/tensor/hook.h"
#include "dispatch/op_table.h"
#include "ops/ops.h"

namespace weft::binding {
namespace {

napi_value requires_grad(Frame& f) {
  set_requires_grad(f.tensor(0), f.flag(1));
  return undefined(f.env);
}

napi_value grad(Frame& f) {
  Tensor grad = leaf_grad(f.tensor(0));
  if (!grad) return make_number(f.env, 0);
  handles::Handle known = f.handle(1);
  if (known != 0 && handles::alive(known) && handles::get(known).same(grad)) {
    return make_number(f.env, static_cast<double>(known));
  }
  return make_number(f.env, static_cast<double>(f.adopt(std::move(grad))));
}

napi_value set_grad(Frame& f) {
  Tensor t = f.tensor(0);
  if (f.handle(1) == 0) {
    replace_grad(t, Tensor());
    return undefined(f.env);
  }
  Tensor g = f.tensor(1);
  if (!is_leaf(t)) fail(ErrorCode::kUsage, "grad can be set on a leaf only");
  if (!(g.shape() == t.shape())) {
    fail(ErrorCode::kShape, "grad has shape %s, its tensor %s", to_string(g.shape()).c_str(),
         to_string(t.shape()).c_str());
  }
  if (g.dtype() != t.dtype()) {
    fail(ErrorCode::kDtype, "grad is %s, its tensor %s", dtype_name(g.dtype()),
         dtype_name(t.dtype()));
  }
  if (&g.device() != &t.device()) {
    fail(ErrorCode::kDevice, "grad is on %s, its tensor on %s", g.device().name().c_str(),
         t.device().name().c_str());
  }
  replace_grad(t, detach(g));
  return undefined(f.env);
}

napi_value clear_grad(Frame& f) {
  Tensor t = f.tensor(0);
  if (f.flag(1)) {
    zero_grad(t);
  } else {
    replace_grad(t, Tensor());
  }
  return undefined(f.env);
}

napi_value grad_fn_name(Frame& f) {
  Tensor t = f.tensor(0);
  return make_text(f.env, is_leaf(t) ? "" : t->autograd->grad_fn->name);
}

napi_value register_hook(Frame& f) {
  Tensor t = f.tensor(0);
  return make_hook_handle(f, add_tensor_hook(t, make_tensor_hook(f, 1)));
}

napi_value register_leaf_hook(Frame& f) {
  Tensor t = f.tensor(0);
  return make_hook_handle(f, add_leaf_hook(t, make_leaf_hook(f, 1)));
}

napi_value remove_hook(Frame& f) {
  hook_handle(f, 0).remove();
  return undefined(f.env);
}

napi_value run_backward(Frame& f) {
  uint64_t count = f.integer(0, kCallWords / 2);
  const double* w = f.words();
  std::vector<Tensor> roots, gradients;
  for (uint64_t i = 0; i < count; ++i) {
    roots.push_back(handles::get(static_cast<handles::Handle>(w[i])));
    auto grad = static_cast<handles::Handle>(w[count + i]);
    gradients.push_back(grad == 0 ? Tensor() : handles::get(grad));
  }
  backward(roots, gradients, {.retain_graph = f.flag(1)});
  return undefined(f.env);
}

napi_value switch_grad(Frame& f) {
  bool before = grad_enabled();
  set_grad_enabled(f.flag(0));
  return make_bool(f.env, before);
}

napi_value is_grad_enabled(Frame& f) { return make_bool(f.env, grad_enabled()); }

constexpr Function kFunctions[] = {
    {"setRequiresGrad", entry<requires_grad>},
    {"grad", entry<grad>},
    {"setGrad", entry<set_grad>},
    {"zeroGrad", entry<clear_grad>},
    {"gradFnName", entry<grad_fn_name>},
    {"registerHook", entry<register_hook>},
    {"registerLeafHook", entry<register_leaf_hook>},
    {"removeHook", entry<remove_hook>},
    {"backward", entry<run_backward>},
    {"setGradEnabled", entry<switch_grad>},
    {"gradEnabled", entry<is_grad_enabled>},
};

}  // namespace

FunctionList autograd_functions() { return kFunctions; }

}  // namespace weft::binding
