// Arguments, values and errors between C++ and JavaScript. See entry.h.
#include "binding/entry.h"

#include <cmath>
#include <cstring>
#include <new>

#include "fabric/fabric.h"

namespace weft::binding {

Frame::Frame(napi_env env, napi_callback_info info) : env(env) {
  void* data = nullptr;
  WEFT_NAPI(napi_get_cb_info(env, info, &count, values, nullptr, &data));
  state = static_cast<Environment*>(data);
}

void Frame::wrong_type(size_t i, const char* expected) const {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw NapiFailure{napi_pending_exception, "argument"};
  fail(ErrorCode::kUsage, "native call: argument %zu must be %s", i, expected);
}

int64_t Frame::signed_integer(size_t i) const {
  double v = number(i);
  if (!(std::fabs(v) <= 9007199254740992.0) || v != std::trunc(v)) wrong_type(i, "an integer");
  return static_cast<int64_t>(v);
}

Device& Frame::device(size_t i) const { return fabric::device_at(device_index(i)); }

bool Frame::flag(size_t i) const {
  bool v;
  if (napi_get_value_bool(env, values[i], &v) != napi_ok) wrong_type(i, "a boolean");
  return v;
}

std::string Frame::text(size_t i) const {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, values[i], nullptr, 0, &length) != napi_ok) {
    wrong_type(i, "a string");
  }
  std::string v(length, '\0');
  WEFT_NAPI(napi_get_value_string_utf8(env, values[i], v.data(), length + 1, &length));
  return v;
}

uint64_t Frame::bigint(size_t i) const {
  uint64_t v;
  bool lossless;
  if (napi_get_value_bigint_uint64(env, values[i], &v, &lossless) != napi_ok) {
    wrong_type(i, "a bigint");
  }
  return v;
}

std::vector<uint16_t> Frame::device_list(size_t i) const {
  uint32_t length = 0;
  if (napi_get_array_length(env, values[i], &length) != napi_ok) wrong_type(i, "an array");
  std::vector<uint16_t> list;
  for (uint32_t k = 0; k < length; ++k) {
    napi_value item;
    double v;
    WEFT_NAPI(napi_get_element(env, values[i], k, &item));
    if (napi_get_value_double(env, item, &v) != napi_ok || !(v >= 0 && v <= 65535)) {
      wrong_type(i, "an array of device indices");
    }
    list.push_back(static_cast<uint16_t>(v));
  }
  return list;
}

double* Frame::words() const {
  if (!state->words) fail(ErrorCode::kUsage, "setCallBuffer() was not called on this thread");
  return state->words;
}

napi_value make_number(napi_env env, double v) {
  napi_value out;
  WEFT_NAPI(napi_create_double(env, v, &out));
  return out;
}
napi_value make_bool(napi_env env, bool v) {
  napi_value out;
  WEFT_NAPI(napi_get_boolean(env, v, &out));
  return out;
}
napi_value make_text(napi_env env, const std::string& v) {
  napi_value out;
  WEFT_NAPI(napi_create_string_utf8(env, v.data(), v.size(), &out));
  return out;
}
napi_value make_bigint(napi_env env, uint64_t v) {
  napi_value out;
  WEFT_NAPI(napi_create_bigint_uint64(env, v, &out));
  return out;
}
napi_value make_object(napi_env env) {
  napi_value out;
  WEFT_NAPI(napi_create_object(env, &out));
  return out;
}
napi_value make_array(napi_env env, size_t length) {
  napi_value out;
  WEFT_NAPI(napi_create_array_with_length(env, length, &out));
  return out;
}
void set(napi_env env, napi_value object, const char* name, napi_value value) {
  WEFT_NAPI(napi_set_named_property(env, object, name, value));
}
void set(napi_env env, napi_value array, uint32_t index, napi_value value) {
  WEFT_NAPI(napi_set_element(env, array, index, value));
}
napi_value make_buffer(napi_env env, size_t bytes, void** data) {
  napi_value out;
  WEFT_NAPI(napi_create_arraybuffer(env, bytes, data, &out));
  return out;
}

napi_value make_error(Environment& state, const Error& error) {
  napi_env env = state.env;
  napi_value message = make_text(env, error.message());
  napi_value fields = make_text(env, error.fields_json());
  napi_value code = make_number(env, static_cast<int>(error.code()));
  if (state.error_factory) {
    napi_value factory, receiver, made;
    napi_value args[] = {code, message, fields};
    WEFT_NAPI(napi_get_reference_value(env, state.error_factory, &factory));
    WEFT_NAPI(napi_get_undefined(env, &receiver));
    WEFT_NAPI(napi_call_function(env, receiver, factory, 3, args, &made));
    return made;
  }
  napi_value made;
  WEFT_NAPI(napi_create_error(env, make_text(env, error_code_name(error.code())), message, &made));
  set(env, made, "weftCode", code);
  set(env, made, "fields", fields);
  return made;
}

namespace {

void throw_error(napi_env env, Environment* state, const Error& error) {
  if (!state) {
    napi_throw_error(env, error_code_name(error.code()), error.message().c_str());
    return;
  }
  WEFT_NAPI(napi_throw(env, make_error(*state, error)));
}

void throw_status(napi_env env, const NapiFailure& failure) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return;
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  std::string text = std::string("Node-API call failed: ") + failure.call + ": " +
                     (info && info->error_message ? info->error_message : "no detail") +
                     " (status " + std::to_string(failure.status) + ")";
  napi_throw_error(env, "WEFT_NAPI", text.c_str());
}

}  // namespace

void throw_current(napi_env env, Environment* state) noexcept {
  try {
    try {
      throw;
    } catch (const Error& error) {
      throw_error(env, state, error);
    } catch (const JsException& exception) {
      napi_value value;
      WEFT_NAPI(napi_get_reference_value(env, exception.value, &value));
      WEFT_NAPI(napi_delete_reference(env, exception.value));
      WEFT_NAPI(napi_throw(env, value));
    } catch (const std::bad_alloc&) {
      throw_error(env, state, Error(ErrorCode::kOutOfMemory, "the process is out of host memory"));
    } catch (const NapiFailure&) {
      throw;
    } catch (const std::exception& error) {
      throw_error(env, state,
                  Error(ErrorCode::kUsage, std::string("internal error: ") + error.what()));
    }
  } catch (const NapiFailure& failure) {
    throw_status(env, failure);
  } catch (...) {
    napi_throw_error(env, "WEFT_NAPI", "an error could not be reported");
  }
}

}  // namespace weft::binding
