// Faults and delays for tests. src/fabric/faults.ts calls these.
#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/device.h"
#include "fabric/faults.h"
#include "fabric/peer_probe.h"

namespace weft::binding {
namespace {

napi_value set_device_delay(Frame& f) {
  fabric::faults::set_device_delay_us(static_cast<int>(f.integer(0, 65535)), f.signed_integer(1));
  return undefined(f.env);
}
napi_value fail_allocations(Frame& f) {
  fabric::faults::fail_allocations(static_cast<int>(f.integer(0, 65535)),
                                   static_cast<int>(f.integer(1, 1e9)),
                                   static_cast<int>(f.integer(2, 1e9)));
  return undefined(f.env);
}
napi_value set_peer_access(Frame& f) {
  fabric::faults::set_peer_access(static_cast<int>(f.integer(0, 65535)),
                                  static_cast<int>(f.integer(1, 65535)), f.flag(2));
  return undefined(f.env);
}
napi_value set_pair_fault(Frame& f) {
  fabric::faults::set_pair_fault(static_cast<int>(f.integer(0, 65535)),
                                 static_cast<int>(f.integer(1, 65535)),
                                 static_cast<fabric::faults::PairFault>(f.integer(2, 3)));
  return undefined(f.env);
}
napi_value forget_probes(Frame& f) {
  fabric::forget_probes();
  return undefined(f.env);
}
napi_value illegal_address(Frame& f) {
  fabric::faults::illegal_address(f.device(0).compute());
  return undefined(f.env);
}
napi_value clear_faults(Frame& f) {
  fabric::faults::clear();
  return undefined(f.env);
}

napi_value host_waits(Frame& f) {
  return make_number(f.env, static_cast<double>(fabric::host_waits()));
}

constexpr Function kFunctions[] = {
    {"hostWaits", entry<host_waits>},
    {"setDeviceDelay", entry<set_device_delay>},
    {"failAllocations", entry<fail_allocations>},
    {"setPeerAccess", entry<set_peer_access>},
    {"illegalAddress", entry<illegal_address>},
    {"clearFaults", entry<clear_faults>},
    {"setPairFault", entry<set_pair_fault>},
    {"forgetProbes", entry<forget_probes>},
};

}  // namespace

FunctionList fault_functions() { return kFunctions; }

}  // namespace weft::binding
