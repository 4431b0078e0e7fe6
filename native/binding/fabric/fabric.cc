// Devices: opening them, what they are, waiting for them.
// src/fabric/devices.ts and fabric.ts call these.
#include "fabric/fabric.h"

#include <atomic>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/tensor/manual_seed.h"
#include "core/async_error.h"
#include "fabric/graph.h"
#include "fabric/machine.h"
#include "fabric/numa.h"

namespace weft::binding {
namespace {

napi_value describe(napi_env env, const Device& device) {
  const fabric::DeviceProperties& p = device.properties();
  napi_value o = make_object(env);
  set(env, o, "index", make_number(env, device.index()));
  set(env, o, "name", make_text(env, device.name()));
  set(env, o, "driver", make_text(env, device.driver().name()));
  set(env, o, "ordinal", make_number(env, device.ordinal()));
  set(env, o, "virtualIndex", make_number(env, device.virtual_index()));
  set(env, o, "model", make_text(env, p.model));
  set(env, o, "totalBytes", make_number(env, static_cast<double>(p.total_bytes)));
  set(env, o, "multiprocessors", make_number(env, p.multiprocessors));
  set(env, o, "capabilityMajor", make_number(env, p.capability_major));
  set(env, o, "capabilityMinor", make_number(env, p.capability_minor));
  set(env, o, "uuid", make_text(env, p.uuid));
  set(env, o, "pci", make_text(env, p.pci));
  set(env, o, "numaNode", make_number(env, fabric::numa_node(p.pci)));
  set(env, o, "driverVersion", make_text(env, p.driver_version));
  set(env, o, "runtimeVersion", make_text(env, p.runtime_version));
  return o;
}

napi_value open_device(Frame& f) {
  std::string name = f.text(0);
  int64_t virtual_count = f.signed_integer(1);
  bool fresh = fabric::find_device(name) == nullptr;
  Device& device = fabric::open_device(name, static_cast<int>(virtual_count));
  if (fresh) seed_opened_device(device);
  return describe(f.env, device);
}

napi_value list_devices(Frame& f) {
  std::vector<Device*> all = fabric::devices();
  napi_value out = make_array(f.env, all.size());
  for (uint32_t i = 0; i < all.size(); ++i) set(f.env, out, i, describe(f.env, *all[i]));
  return out;
}

napi_value free_bytes(Frame& f) {
  Device& device = f.device(0);
  return make_number(f.env, static_cast<double>(device.driver().free_bytes(device.ordinal())));
}

napi_value nvml(Frame& f) {
  const fabric::NvmlReport report = fabric::nvml_report();
  napi_value o = make_object(f.env);
  set(f.env, o, "found", make_bool(f.env, report.found));
  set(f.env, o, "driverVersion", make_text(f.env, report.driver_version));
  set(f.env, o, "detail", make_text(f.env, report.detail));
  return o;
}

/// Every stream notifies; the last one to do so settles the promise.
napi_value synchronize(Frame& f) {
  Device& device = f.device(0);
  return f.state->completions->promise([&](napi_deferred deferred) {
    fabric::check_poison();
    fabric::require_eager(device, "waiting for a device");
    std::vector<Stream*> streams = device.streams();
    if (streams.empty()) streams.push_back(&device.compute());
    auto left = std::make_shared<std::atomic<size_t>>(streams.size());
    for (Stream* stream : streams) {
      device.driver().notify(stream->handle(), [left, deferred, &device, q = f.state->completions] {
        if (left->fetch_sub(1) > 1) return;
        q->post(
            [deferred, &device](Environment& state) {
              settle(state, deferred, [&] {
                throw_async_error(device);
                fabric::check_poison();
                resolve(state, deferred, undefined(state.env));
              });
            },
            true);
      });
    }
  });
}

napi_value shutdown(Frame& f) {
  fabric::shutdown();
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"openDevice", entry<open_device>},  {"devices", entry<list_devices>},
    {"synchronize", entry<synchronize>}, {"shutdown", entry<shutdown>},
    {"freeBytes", entry<free_bytes>},    {"nvml", entry<nvml>},
};

}  // namespace

FunctionList fabric_functions() { return kFunctions; }

}  // namespace weft::binding
