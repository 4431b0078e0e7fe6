// See completion.h.
#include "binding/completion.h"

#include "binding/entry.h"

namespace weft::binding {

CompletionQueue::CompletionQueue(Environment& state) : state_(&state) {
  napi_value name = make_text(state.env, "weft completions");
  WEFT_NAPI(napi_create_threadsafe_function(state.env, nullptr, nullptr, name, 0, 1, nullptr,
                                            nullptr, this, on_wake, &function_));
  WEFT_NAPI(napi_unref_threadsafe_function(state.env, function_));
}

napi_value CompletionQueue::promise(const std::function<void(napi_deferred)>& begin) {
  napi_value promise;
  napi_deferred deferred;
  WEFT_NAPI(napi_create_promise(state_->env, &deferred, &promise));
  try {
    begin(deferred);
  } catch (const Error& error) {
    reject(*state_, deferred, error);
    return promise;
  }
  if (pending_++ == 0) WEFT_NAPI(napi_ref_threadsafe_function(state_->env, function_));
  return promise;
}

bool CompletionQueue::post(Task task, bool settles) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (closed_) return false;
  queue_.emplace_back(std::move(task), settles);
  if (queue_.size() > 1) return true;  // the loop was woken already and takes all
  return napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking) == napi_ok;
}

bool CompletionQueue::closed() {
  std::lock_guard<std::mutex> guard(mutex_);
  return closed_;
}

void CompletionQueue::close() {
  std::vector<std::pair<Task, bool>> dropped;
  std::lock_guard<std::mutex> guard(mutex_);
  closed_ = true;
  dropped.swap(queue_);
}

void CompletionQueue::on_wake(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;  // the environment is ending
  auto* self = static_cast<CompletionQueue*>(context);
  std::shared_ptr<CompletionQueue> hold = self->state_->completions;
  self->drain();
}

void CompletionQueue::drain() {
  std::vector<std::pair<Task, bool>> tasks;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    tasks.swap(queue_);
  }
  napi_env env = state_->env;
  size_t settled = 0;
  for (auto& [task, settles] : tasks) {
    settled += settles;
    napi_handle_scope scope;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    try {
      task(*state_);
    } catch (...) {
      throw_current(env, state_);
      napi_value error;
      if (napi_get_and_clear_last_exception(env, &error) == napi_ok)
        napi_fatal_exception(env, error);
    }
    napi_close_handle_scope(env, scope);
  }
  if (settled > 0 && (pending_ -= settled) == 0) napi_unref_threadsafe_function(env, function_);
}

void resolve(Environment& state, napi_deferred deferred, napi_value value) {
  WEFT_NAPI(napi_resolve_deferred(state.env, deferred, value));
}

void reject(Environment& state, napi_deferred deferred, const Error& error) {
  WEFT_NAPI(napi_reject_deferred(state.env, deferred, make_error(state, error)));
}

void settle(Environment& state, napi_deferred deferred, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    reject(state, deferred, error);
  } catch (const NapiFailure& failure) {
    bool pending = false;
    napi_value error;
    if (napi_is_exception_pending(state.env, &pending) == napi_ok && pending &&
        napi_get_and_clear_last_exception(state.env, &error) == napi_ok) {
      WEFT_NAPI(napi_reject_deferred(state.env, deferred, error));  // such as a refused allocation
    } else {
      reject(state, deferred,
             Error(ErrorCode::kOutOfMemory,
                   std::string("the value could not be handed over: ") + failure.call));
    }
  }
}

napi_value undefined(napi_env env) {
  napi_value out;
  WEFT_NAPI(napi_get_undefined(env, &out));
  return out;
}

}  // namespace weft::binding
