// See hook.h.
//
// Design. A hook may be destroyed on any thread, after its environment too, but a napi_ref may be
// deleted only on its own. So the destructor posts the deletion; when the environment has ended,
// Node has freed the reference itself.
#include "binding/tensor/hook.h"

#include <cmath>

#include "binding/completion.h"

namespace weft::binding {
namespace {

class JsFunction {
 public:
  JsFunction(Frame& f, size_t i) : state_(f.state), queue_(f.state->completions) {
    napi_valuetype type;
    WEFT_NAPI(napi_typeof(f.env, f.values[i], &type));
    if (type != napi_function) fail(ErrorCode::kUsage, "a hook must be a function");
    WEFT_NAPI(napi_create_reference(f.env, f.values[i], 1, &ref_));
  }
  ~JsFunction() {
    queue_->post([ref = ref_](Environment& state) { napi_delete_reference(state.env, ref); },
                 false);
  }
  JsFunction(const JsFunction&) = delete;
  JsFunction& operator=(const JsFunction&) = delete;

  /// Throws UsageError on another thread than the function's own.
  void require_thread() const {
    if (queue_->closed() || std::this_thread::get_id() != state_->thread) {
      fail(ErrorCode::kUsage,
           "a gradient hook was reached from a thread other than the one that registered it: call "
           "backward() on that thread, or register the hook where backward() runs");
    }
  }
  /// Calls the function; throws JsException when it throws. Returns its result as a number, else 0.
  double operator()(const double* argument) const {
    require_thread();
    napi_env env = state_->env;
    napi_handle_scope scope;
    WEFT_NAPI(napi_open_handle_scope(env, &scope));
    napi_value function, result, receiver = undefined(env), args[1];
    if (argument) args[0] = make_number(env, *argument);
    WEFT_NAPI(napi_get_reference_value(env, ref_, &function));
    napi_status status =
        napi_call_function(env, receiver, function, argument ? 1 : 0, args, &result);
    if (status == napi_pending_exception) {
      napi_value thrown;
      JsException exception{};
      WEFT_NAPI(napi_get_and_clear_last_exception(env, &thrown));
      exception.value = hold(env, thrown);
      napi_close_handle_scope(env, scope);
      throw exception;
    }
    check(status, "napi_call_function");
    double value = 0;
    napi_valuetype type;
    WEFT_NAPI(napi_typeof(env, result, &type));
    if (type == napi_number) WEFT_NAPI(napi_get_value_double(env, result, &value));
    WEFT_NAPI(napi_close_handle_scope(env, scope));
    return value;
  }

 private:
  /// References hold objects only: a thrown number or text is wrapped in an Error.
  static napi_ref hold(napi_env env, napi_value thrown) {
    napi_ref ref;
    if (napi_create_reference(env, thrown, 1, &ref) == napi_ok) return ref;
    napi_value text, error;
    WEFT_NAPI(napi_coerce_to_string(env, thrown, &text));
    WEFT_NAPI(napi_create_error(env, nullptr, text, &error));
    WEFT_NAPI(napi_create_reference(env, error, 1, &ref));
    return ref;
  }

  Environment* state_;
  std::shared_ptr<CompletionQueue> queue_;
  napi_ref ref_ = nullptr;
};

}  // namespace

TensorHook make_tensor_hook(Frame& frame, size_t i) {
  auto function = std::make_shared<JsFunction>(frame, i);
  return [function, owner = frame.state->id](const Tensor& grad) {
    handles::Handle handle = handles::insert(grad, owner);
    struct Release {
      handles::Handle handle;
      ~Release() { handles::release(handle); }
    } release{handle};
    auto argument = static_cast<double>(handle);
    double answer = (*function)(&argument);
    if (answer == 0) return Tensor();
    auto replaced = static_cast<handles::Handle>(std::fabs(answer));
    Tensor result = handles::get(replaced);
    if (answer < 0) handles::release(replaced);
    return result;
  };
}

napi_value make_hook_handle(Frame& frame, HookHandle handle) {
  auto owned = std::make_unique<HookHandle>(std::move(handle));
  napi_value external;
  WEFT_NAPI(napi_create_external(
      frame.env, owned.get(),
      [](napi_env, void* data, void*) { delete static_cast<HookHandle*>(data); }, nullptr,
      &external));
  owned.release();
  return external;
}

HookHandle& hook_handle(Frame& frame, size_t i) {
  napi_valuetype type;
  WEFT_NAPI(napi_typeof(frame.env, frame.values[i], &type));
  if (type != napi_external) fail(ErrorCode::kUsage, "removeHook: this is no hook's handle");
  void* data = nullptr;
  WEFT_NAPI(napi_get_value_external(frame.env, frame.values[i], &data));
  return *static_cast<HookHandle*>(data);
}

std::function<void(std::span<const Tensor>)> make_again(Frame& frame, size_t i) {
  auto function = std::make_shared<JsFunction>(frame, i);
  return [function, state = frame.state](std::span<const Tensor> inputs) {
    function->require_thread();
    for (size_t k = 0; k < inputs.size(); ++k) {
      state->words[k] = static_cast<double>(handles::insert(inputs[k], state->id));
    }
    auto count = static_cast<double>(inputs.size());
    (*function)(&count);
  };
}

LeafHook make_leaf_hook(Frame& frame, size_t i) {
  auto function = std::make_shared<JsFunction>(frame, i);
  return [function] { (*function)(nullptr); };
}

}  // namespace weft::binding
