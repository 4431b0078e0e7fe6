// Random generators of devices. src/tensor/operators/random.ts calls these.
#include <mutex>
#include <optional>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/tensor/manual_seed.h"
#include "fabric/fabric.h"
#include "fabric/graph.h"
#include "random/generator.h"

namespace weft::binding {
namespace {

std::mutex g_mutex;  // guards g_manual_seed
std::optional<uint64_t> g_manual_seed;

napi_value seed(Frame& f) {
  int64_t index = f.signed_integer(0);
  uint64_t value = f.bigint(1);
  if (index >= 0) {
    fabric::require_eager(f.device(0), "seeding the generator");
    seed_device(f.device(0), value);
    return undefined(f.env);
  }
  std::lock_guard<std::mutex> guard(g_mutex);
  g_manual_seed = value;
  for (Device* device : fabric::devices()) {
    fabric::require_eager(*device, "seeding the generators");
  }
  for (Device* device : fabric::devices()) seed_device(*device, value);
  return undefined(f.env);
}

napi_value get_state(Frame& f) {
  GeneratorState state = generator_state(f.device(0));
  napi_value out = make_array(f.env, 2);
  set(f.env, out, 0u, make_bigint(f.env, state.seed));
  set(f.env, out, 1u, make_bigint(f.env, state.offset));
  return out;
}

napi_value set_state(Frame& f) {
  fabric::require_eager(f.device(0), "setting the generator");
  set_generator_state(f.device(0), {f.bigint(1), f.bigint(2)});
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"seed", entry<seed>},
    {"generatorState", entry<get_state>},
    {"setGeneratorState", entry<set_state>},
};

}  // namespace

void seed_opened_device(const Device& device) {
  std::lock_guard<std::mutex> guard(g_mutex);
  if (g_manual_seed) seed_device(device, *g_manual_seed);
}

FunctionList random_functions() { return kFunctions; }

}  // namespace weft::binding
