// The lists that TypeScript keeps copies of, and how this addon was built. test/host/fabric/tables.test.ts
// compares them; `weft doctor` prints buildInfo().
#include "binding/completion.h"
#include "binding/entry.h"
#include "dispatch/op_table.h"
#include "fabric/fabric.h"
#include "fabric/group.h"
#include "fabric/host_queue.h"

namespace weft::binding {
namespace {

napi_value text_list(napi_env env, const std::vector<std::string>& list) {
  napi_value out = make_array(env, list.size());
  for (uint32_t i = 0; i < list.size(); ++i) set(env, out, i, make_text(env, list[i]));
  return out;
}

napi_value errors(napi_env env) {
  const std::vector<std::vector<std::string>> rows = {
#define WEFT_ERROR(enumerator, cls, code) {#enumerator, #cls, #code},
#include "fabric/error_codes.def"
#undef WEFT_ERROR
  };
  napi_value out = make_array(env, rows.size());
  for (uint32_t i = 0; i < rows.size(); ++i) set(env, out, i, text_list(env, rows[i]));
  return out;
}

napi_value dtypes(napi_env env) {
  napi_value out = make_array(env, fabric::kDTypeCount);
  for (uint32_t i = 0; i < fabric::kDTypeCount; ++i) {
    auto dtype = static_cast<DType>(i);
    napi_value row = make_array(env, 2);
    set(env, row, 0u, make_text(env, dtype_name(dtype)));
    set(env, row, 1u, make_number(env, static_cast<double>(dtype_bytes(dtype))));
    set(env, out, i, row);
  }
  return out;
}

napi_value operators(napi_env env) {
  napi_value out = make_array(env, kOpCount);
  for (uint32_t i = 0; i < kOpCount; ++i) {
    auto op = static_cast<Op>(i);
    set(env, out, i, text_list(env, {op_name(op), op_schema(op)}));
  }
  return out;
}

napi_value tables(Frame& f) {
  const std::vector<std::string> events = {
#define WEFT_EVENT(enumerator, name) name,
#include "fabric/event_kinds.def"
#undef WEFT_EVENT
  };
  const std::vector<std::string> work = {
#define WEFT_WORK(enumerator, name) name,
#include "dispatch/work_kinds.def"
#undef WEFT_WORK
  };
  std::vector<std::string> collectives;
  for (int i = 0; i < fabric::kCollectiveKinds; ++i) {
    collectives.emplace_back(fabric::collective_name(static_cast<fabric::CollectiveKind>(i)));
  }
  napi_value out = make_object(f.env);
  set(f.env, out, "errors", errors(f.env));
  set(f.env, out, "dtypes", dtypes(f.env));
  set(f.env, out, "events", text_list(f.env, events));
  set(f.env, out, "work", text_list(f.env, work));
  set(f.env, out, "operators", operators(f.env));
  set(f.env, out, "collectives", text_list(f.env, collectives));
  return out;
}

napi_value build_info(Frame& f) {
  napi_value out = make_object(f.env);
#if WEFT_HAVE_BLAS
  const char* blas = "openblas";
#else
  const char* blas = "plain";
#endif
  set(f.env, out, "compiler", make_text(f.env, __VERSION__));
  set(f.env, out, "napi", make_number(f.env, NAPI_VERSION));
  set(f.env, out, "blas", make_text(f.env, blas));
  set(f.env, out, "threads", make_number(f.env, fabric::host::compute_threads()));
#if defined(WEFT_HAVE_CUDA)
  constexpr bool cuda = true;
#else
  constexpr bool cuda = false;
#endif
#if defined(WEFT_DEVICE_CODE)
  const char* device_code = WEFT_DEVICE_CODE;
#else
  const char* device_code = "";
#endif
  set(f.env, out, "cuda", make_bool(f.env, cuda));
  set(f.env, out, "deviceCode", make_text(f.env, device_code));
  napi_value drivers = make_array(f.env, 0);
  uint32_t n = 0;
  for (auto kind : {fabric::DriverKind::kHost, fabric::DriverKind::kCuda}) {
    fabric::Driver* driver = fabric::find_driver(kind);
    if (!driver) continue;
    napi_value o = make_object(f.env);
    set(f.env, o, "name", make_text(f.env, driver->name()));
    set(f.env, o, "devices", make_number(f.env, driver->device_count()));
    set(f.env, drivers, n++, o);
  }
  set(f.env, out, "drivers", drivers);
  return out;
}

constexpr Function kFunctions[] = {{"tables", entry<tables>}, {"buildInfo", entry<build_info>}};

}  // namespace

FunctionList table_functions() { return kFunctions; }

}  // namespace weft::binding
