// The addon's entry: per-environment state, its cleanup, and the functions of every subject file.
#include <atomic>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/coalesce.h"
#include "binding/fabric/work_table.h"
#include "dispatch/op_table.h"

namespace weft::binding {
namespace {

std::atomic<uint32_t> g_next_environment{1};

napi_value set_call_buffer(Frame& f) {
  bool typed = false;
  WEFT_NAPI(napi_is_typedarray(f.env, f.values[0], &typed));
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (typed) {
    WEFT_NAPI(
        napi_get_typedarray_info(f.env, f.values[0], &type, &length, &data, nullptr, nullptr));
  }
  if (!typed || type != napi_float64_array || length < kCallWords) {
    fail(ErrorCode::kUsage, "setCallBuffer takes a Float64Array of at least %zu elements",
         kCallWords);
  }
  napi_ref ref;
  WEFT_NAPI(napi_create_reference(f.env, f.values[0], 1, &ref));
  if (f.state->words_ref) WEFT_NAPI(napi_delete_reference(f.env, f.state->words_ref));
  f.state->words_ref = ref;
  f.state->words = static_cast<double*>(data);
  return undefined(f.env);
}

napi_value set_error_factory(Frame& f) {
  napi_valuetype type;
  WEFT_NAPI(napi_typeof(f.env, f.values[0], &type));
  if (type != napi_function) fail(ErrorCode::kUsage, "setErrorFactory takes a function");
  napi_ref ref;
  WEFT_NAPI(napi_create_reference(f.env, f.values[0], 1, &ref));
  if (f.state->error_factory) WEFT_NAPI(napi_delete_reference(f.env, f.state->error_factory));
  f.state->error_factory = ref;
  return undefined(f.env);
}

/// Runs on the environment's thread before Node tears it down; JavaScript may not be called any
/// more.
void on_cleanup(void* data) {
  auto* state = static_cast<Environment*>(data);
  state->completions->close();
  state->works->clear();
  state->block.reset();
  state->current_streams.clear();
  release_graphs(state->id);
  release_reducers(state->id);
  handles::release_owner(state->id);
}

constexpr Function kFunctions[] = {
    {"setCallBuffer", entry<set_call_buffer>},
    {"setErrorFactory", entry<set_error_factory>},
};

void define(napi_env env, napi_value exports, Environment* state, FunctionList list) {
  for (const Function& function : list) {
    napi_value value;
    WEFT_NAPI(napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback, state,
                                   &value));
    set(env, exports, function.name, value);
  }
}

napi_value initialize(napi_env env, napi_value exports) {
  ensure_registered();
  auto owned = std::make_unique<Environment>(env);
  Environment* state = owned.get();
  WEFT_NAPI(napi_set_instance_data(
      env, state, [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); },
      nullptr));
  owned.release();
  // After the threadsafe function, so that the hook runs before Node closes that.
  WEFT_NAPI(napi_add_env_cleanup_hook(env, on_cleanup, state));
  define(env, exports, state, kFunctions);
  for (auto list :
       {call_functions,       tensor_functions,       read_functions,         autograd_functions,
        fabric_functions,     stream_functions,       fault_functions,        group_functions,
        work_functions,       snapshot_functions,     event_log_functions,    topology_functions,
        memory_functions,     random_functions,       precision_functions,    gemm_functions,
        checkpoint_functions, reducer_functions,      joint_functions,        graph_functions,
        table_functions,      timed_event_functions,  launch_probe_functions, pair_functions,
        plugin_functions,     reduce_bench_functions, pair_bench_functions,   coalesce_functions}) {
    define(env, exports, state, list());
  }
  return exports;
}

}  // namespace

Environment::Environment(napi_env env)
    : env(env),
      id(g_next_environment.fetch_add(1)),
      completions(std::make_shared<CompletionQueue>(*this)),
      works(std::make_unique<WorkTable>()) {}
Environment::~Environment() = default;

}  // namespace weft::binding

NAPI_MODULE_INIT() {
  try {
    return weft::binding::initialize(env, exports);
  } catch (...) {
    weft::binding::throw_current(env, nullptr);
    return nullptr;
  }
}
