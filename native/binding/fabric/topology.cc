// Links between devices, rings and cliques through them, and tests of pairs. src/fabric/fabric.ts and probe.ts
// call these.
#include <exception>
#include <thread>

#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/fabric.h"
#include "fabric/known_pairs.h"

namespace weft::binding {
namespace {

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

fabric::PathProbe known_path(const double* words, const std::string& state) {
  return {fabric::probe_state(state), words[0], words[1], words[2]};
}

/// from, to, states of copy and kernel, reason; words: GB/s, both ways, latency of each. An earlier
/// process's result; false when this process has its own.
napi_value remember_pair(Frame& f) {
  const double* w = f.words();
  const fabric::PairProbe result{known_path(w, f.text(2)), known_path(w + 3, f.text(3)), f.text(4)};
  return make_bool(f.env, fabric::remember_pair(f.device(0), f.device(1), result));
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

constexpr Function kFunctions[] = {
    {"topology", entry<topology>},          {"ringOrder", entry<ring_order>},
    {"peerCliques", entry<peer_cliques>},   {"probePeers", entry<probe_peers>},
    {"rememberPair", entry<remember_pair>},
};

}  // namespace

FunctionList topology_functions() { return kFunctions; }

}  // namespace weft::binding
