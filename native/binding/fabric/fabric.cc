// Devices: opening them, what they are, the links between them, waiting for them.
// src/fabric/devices.ts and fabric.ts call these.
#include "fabric/fabric.h"

#include <atomic>
#include <exception>
#include <thread>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/tensor/manual_seed.h"
#include "core/async_error.h"
#include "fabric/graph.h"
#include "fabric/machine.h"

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

std::vector<Device*> chosen(Frame& f, size_t i) {
  std::vector<Device*> list;
  for (uint16_t index : f.device_list(i)) list.push_back(&fabric::device_at(index));
  return list.empty() ? fabric::devices() : list;
}

napi_value describe_path(napi_env env, const fabric::PathProbe& path) {
  napi_value o = make_object(env);
  set(env, o, "state", make_text(env, fabric::probe_state_name(path.state)));
  set(env, o, "gbps", make_number(env, path.gbps));
  set(env, o, "bothGbps", make_number(env, path.both_gbps));
  set(env, o, "latencyUs", make_number(env, path.latency_us));
  return o;
}

napi_value describe_probe(napi_env env, const fabric::PairProbe& probe) {
  napi_value o = make_object(env);
  set(env, o, "copy", describe_path(env, probe.copy));
  set(env, o, "kernel", describe_path(env, probe.kernel));
  set(env, o, "reason", make_text(env, probe.reason));
  return o;
}

/// Tests pairs on a thread of its own, so that the event loop goes on.
napi_value probe_peers(Frame& f) {
  const std::vector<Device*> devices = chosen(f, 0);
  fabric::ProbeOptions options;
  options.again = f.flag(1);
  options.limit_ms = f.signed_integer(2);
  return f.state->completions->promise([&](napi_deferred deferred) {
    std::thread([devices, options, deferred, q = f.state->completions] {
      std::exception_ptr failed;
      int measured = 0;
      try {
        measured = fabric::probe_peers(devices, options).measured;
      } catch (...) {
        failed = std::current_exception();
      }
      q->post(
          [deferred, failed, measured](Environment& state) {
            settle(state, deferred, [&] {
              if (failed) std::rethrow_exception(failed);
              resolve(state, deferred, make_number(state.env, measured));
            });
          },
          true);
    }).detach();
  });
}

napi_value topology(Frame& f) {
  std::vector<fabric::Link> links = fabric::topology(chosen(f, 0));
  napi_value out = make_array(f.env, links.size());
  for (uint32_t i = 0; i < links.size(); ++i) {
    napi_value o = make_object(f.env);
    set(f.env, o, "from", make_number(f.env, links[i].from));
    set(f.env, o, "to", make_number(f.env, links[i].to));
    set(f.env, o, "kind", make_text(f.env, links[i].kind));
    set(f.env, o, "peerAccess", make_bool(f.env, links[i].peer_access));
    set(f.env, o, "gbps", make_number(f.env, links[i].gbps));
    set(f.env, o, "lanes", make_number(f.env, links[i].lanes));
    set(f.env, o, "nominalGbps", make_number(f.env, links[i].nominal_gbps));
    set(f.env, o, "through", make_text(f.env, links[i].through));
    set(f.env, o, "nativeAtomics", make_bool(f.env, links[i].native_atomics));
    set(f.env, o, "performanceRank", make_number(f.env, links[i].performance_rank));
    if (links[i].probe) set(f.env, o, "probe", describe_probe(f.env, *links[i].probe));
    set(f.env, out, i, o);
  }
  return out;
}

napi_value ring_order(Frame& f) {
  std::vector<int> order = fabric::ring_order(chosen(f, 0));
  napi_value out = make_array(f.env, order.size());
  for (uint32_t i = 0; i < order.size(); ++i) set(f.env, out, i, make_number(f.env, order[i]));
  return out;
}

napi_value peer_cliques(Frame& f) {
  const auto sets = fabric::peer_cliques(chosen(f, 0));
  napi_value out = make_array(f.env, sets.size());
  for (uint32_t i = 0; i < sets.size(); ++i) {
    napi_value set_of = make_array(f.env, sets[i].size());
    for (uint32_t j = 0; j < sets[i].size(); ++j) {
      set(f.env, set_of, j, make_number(f.env, sets[i][j]));
    }
    set(f.env, out, i, set_of);
  }
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
    {"openDevice", entry<open_device>},   {"devices", entry<list_devices>},
    {"topology", entry<topology>},        {"ringOrder", entry<ring_order>},
    {"peerCliques", entry<peer_cliques>}, {"probePeers", entry<probe_peers>},
    {"synchronize", entry<synchronize>},  {"shutdown", entry<shutdown>},
    {"freeBytes", entry<free_bytes>},     {"nvml", entry<nvml>},
};

}  // namespace

FunctionList fabric_functions() { return kFunctions; }

}  // namespace weft::binding
