// The precision switches for TypeScript. src/tensor/precision.ts and autocast.ts call these.
#include "core/precision.h"

#include "binding/entry.h"
#include "dispatch/autocast.h"

namespace weft::binding {
namespace {

// setTf32(allowed: boolean): void
napi_value set_tf32(Frame& f) {
  set_tf32_allowed(f.flag(0));
  return nullptr;
}

// tf32(): boolean
napi_value get_tf32(Frame& f) { return make_bool(f.env, tf32_allowed()); }

// enterAutocast(mode): number, the mode before. Mode: see autocast::Mode.
napi_value enter_autocast(Frame& f) {
  const auto mode = static_cast<autocast::Mode>(f.integer(0, 4));
  return make_number(f.env, static_cast<int>(autocast::enter(mode)));
}

// leaveAutocast(before: number): void
napi_value leave_autocast(Frame& f) {
  autocast::leave(static_cast<autocast::Mode>(f.integer(0, 4)));
  return nullptr;
}

// castAhead(count): the weights of the open region, whose handles lie in the call buffer.
napi_value cast_ahead(Frame& f) {
  const auto count = static_cast<size_t>(f.integer(0, kCallWords));
  std::vector<Tensor> weights;
  weights.reserve(count);
  for (size_t i = 0; i < count; ++i)
    weights.push_back(handles::get(static_cast<handles::Handle>(f.words()[i])));
  autocast::cast_ahead(weights);
  return nullptr;
}

// autocastMode(): number
napi_value autocast_mode(Frame& f) {
  return make_number(f.env, static_cast<int>(autocast::mode()));
}

constexpr Function kFunctions[] = {
    {"setTf32", entry<set_tf32>},
    {"tf32", entry<get_tf32>},
    {"enterAutocast", entry<enter_autocast>},
    {"leaveAutocast", entry<leave_autocast>},
    {"castAhead", entry<cast_ahead>},
    {"autocastMode", entry<autocast_mode>},
};

}  // namespace

FunctionList precision_functions() { return kFunctions; }

}  // namespace weft::binding
