// How every native function of the addon is written: a body that takes a Frame and may throw,
// wrapped by entry<body>, which turns C++ errors into JavaScript ones. No exception crosses into
// Node; every Node-API status is checked.
#pragma once

#include <node_api.h>

#include <span>
#include <string>

#include "binding/environment.h"
#include "core/handle_table.h"

namespace weft::binding {

/// A Node-API call failed; entry() lets a pending JavaScript exception through, else makes an
/// error.
struct NapiFailure {
  napi_status status;
  const char* call;
};
/// A JavaScript function called from here threw; entry() throws the same value again.
struct JsException {
  napi_ref value;
};

inline void check(napi_status status, const char* call) {
  if (status != napi_ok) [[unlikely]]
    throw NapiFailure{status, call};
}
#define WEFT_NAPI(call) ::weft::binding::check((call), #call)

inline constexpr size_t kMaxEntryArgs = 10;

/// The arguments of one call.
class Frame {
 public:
  Frame(napi_env env, napi_callback_info info);

  napi_env env;
  Environment* state = nullptr;
  napi_value values[kMaxEntryArgs];
  size_t count = kMaxEntryArgs;

  double number(size_t i) const {
    double v;
    if (napi_get_value_double(env, values[i], &v) != napi_ok) [[unlikely]]
      wrong_type(i, "a number");
    return v;
  }
  /// A number in 0..limit; throws UsageError otherwise.
  uint64_t integer(size_t i, double limit = 9007199254740992.0) const {
    double v = number(i);
    if (!(v >= 0 && v <= limit) || v != static_cast<double>(static_cast<uint64_t>(v)))
        [[unlikely]] {
      wrong_type(i, "a non-negative integer");
    }
    return static_cast<uint64_t>(v);
  }
  int64_t signed_integer(size_t i) const;
  uint16_t device_index(size_t i) const { return static_cast<uint16_t>(integer(i, 65535)); }
  Device& device(size_t i) const;
  handles::Handle handle(size_t i) const { return integer(i); }
  Tensor tensor(size_t i) const { return handles::get(handle(i)); }
  bool flag(size_t i) const;
  std::string text(size_t i) const;
  uint64_t bigint(size_t i) const;
  std::vector<uint16_t> device_list(size_t i) const;  ///< an array of device indices
  double* words() const;                              ///< the call buffer; UsageError when not set
  handles::Handle adopt(Tensor t) const { return handles::insert(std::move(t), state->id); }

 private:
  [[noreturn]] void wrong_type(size_t i, const char* expected) const;
};

using Body = napi_value (*)(Frame& frame);

// Values
napi_value make_number(napi_env env, double v);
napi_value make_bool(napi_env env, bool v);
napi_value make_text(napi_env env, const std::string& v);
napi_value make_bigint(napi_env env, uint64_t v);
napi_value make_object(napi_env env);
napi_value make_array(napi_env env, size_t length);
void set(napi_env env, napi_value object, const char* name, napi_value value);
void set(napi_env env, napi_value array, uint32_t index, napi_value value);
/// A new ArrayBuffer of `bytes`, its memory in `*data`.
napi_value make_buffer(napi_env env, size_t bytes, void** data);

/// The JavaScript error object for a native error.
napi_value make_error(Environment& state, const Error& error);
/// Turns the exception in flight (catch (...)) into a JavaScript throw.
void throw_current(napi_env env, Environment* state) noexcept;

template <Body body>
napi_value entry(napi_env env, napi_callback_info info) {
  Environment* state = nullptr;
  try {
    Frame frame(env, info);
    state = frame.state;
    return body(frame);
  } catch (...) {
    throw_current(env, state);
    return nullptr;
  }
}

/// One row of a subject's function table; addon.cc defines them on the exports.
struct Function {
  const char* name;
  napi_callback callback;
};
using FunctionList = std::span<const Function>;

// One list a subject file
FunctionList call_functions();
FunctionList tensor_functions();
FunctionList read_functions();
FunctionList autograd_functions();
FunctionList fabric_functions();
FunctionList stream_functions();
FunctionList timed_event_functions();
FunctionList launch_probe_functions();
FunctionList fault_functions();
FunctionList group_functions();
FunctionList work_functions();
FunctionList snapshot_functions();
FunctionList topology_functions();
FunctionList event_log_functions();
FunctionList memory_functions();
FunctionList random_functions();
FunctionList precision_functions();
FunctionList checkpoint_functions();
FunctionList gemm_functions();
FunctionList reducer_functions();
FunctionList joint_functions();
FunctionList pair_functions();
FunctionList coalesce_functions();
FunctionList plugin_functions();
FunctionList reduce_bench_functions();
FunctionList pair_bench_functions();
FunctionList graph_functions();
FunctionList table_functions();

/// Drops the reducers, and the captured steps, that an ended environment left.
void release_reducers(uint32_t owner);
void release_graphs(uint32_t owner);

}  // namespace weft::binding
