// The precision switch for TypeScript. src/tensor/precision.ts calls these.
#include "core/precision.h"

#include "binding/entry.h"

namespace weft::binding {
namespace {

// setTf32(allowed: boolean): void
napi_value set_tf32(Frame& f) {
  set_tf32_allowed(f.flag(0));
  return nullptr;
}

// tf32(): boolean
napi_value get_tf32(Frame& f) { return make_bool(f.env, tf32_allowed()); }

constexpr Function kFunctions[] = {
    {"setTf32", entry<set_tf32>},
    {"tf32", entry<get_tf32>},
};

}  // namespace

FunctionList precision_functions() { return kFunctions; }

}  // namespace weft::binding
