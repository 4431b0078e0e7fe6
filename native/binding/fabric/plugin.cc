// Plugins: loading, unloading, what is loaded. src/fabric/plugins.ts calls these.
#include "fabric/plugin.h"

#include "binding/completion.h"
#include "binding/entry.h"
#include "plugin/registrar.h"

namespace weft::binding {
namespace {

napi_value describe(napi_env env, const fabric::PluginInfo& info) {
  napi_value names = make_array(env, info.algorithms.size());
  for (uint32_t i = 0; i < info.algorithms.size(); ++i) {
    set(env, names, i, make_text(env, info.algorithms[i]));
  }
  napi_value operators = make_array(env, info.operators.size());
  for (uint32_t i = 0; i < info.operators.size(); ++i) {
    set(env, operators, i, make_text(env, info.operators[i]));
  }
  napi_value out = make_array(env, 6);
  set(env, out, 0u, make_text(env, info.name));
  set(env, out, 1u, make_text(env, info.version));
  set(env, out, 2u, make_text(env, info.path));
  set(env, out, 3u,
      make_text(env, std::to_string(info.abi_major) + "." + std::to_string(info.abi_minor)));
  set(env, out, 4u, names);
  set(env, out, 5u, operators);
  return out;
}

napi_value load_plugin(Frame& f) { return describe(f.env, fabric::load_plugin(f.text(0))); }

napi_value unload_plugin(Frame& f) {
  fabric::unload_plugin(f.text(0));
  return undefined(f.env);
}

napi_value plugins(Frame& f) {
  const auto all = fabric::plugins();
  napi_value out = make_array(f.env, all.size());
  for (uint32_t i = 0; i < all.size(); ++i) set(f.env, out, i, describe(f.env, all[i]));
  return out;
}

/// Operators of plugins that can be called now: id, schema.
napi_value plugin_operators(Frame& f) {
  const auto all = plugin::live_operators();
  napi_value out = make_array(f.env, all.size());
  for (uint32_t i = 0; i < all.size(); ++i) {
    napi_value row = make_array(f.env, 2);
    set(f.env, row, 0u, make_number(f.env, all[i].id));
    set(f.env, row, 1u, make_text(f.env, all[i].schema));
    set(f.env, out, i, row);
  }
  return out;
}

/// Names of operators that plugins ever brought, as events name them: id, name.
napi_value plugin_operator_names(Frame& f) {
  const auto all = plugin::logged_names();
  napi_value out = make_array(f.env, all.size());
  for (uint32_t i = 0; i < all.size(); ++i) {
    napi_value row = make_array(f.env, 2);
    set(f.env, row, 0u, make_number(f.env, all[i].id));
    set(f.env, row, 1u, make_text(f.env, all[i].name));
    set(f.env, out, i, row);
  }
  return out;
}

constexpr Function kFunctions[] = {
    {"loadPlugin", entry<load_plugin>},
    {"unloadPlugin", entry<unload_plugin>},
    {"plugins", entry<plugins>},
    {"pluginOperators", entry<plugin_operators>},
    {"pluginOperatorNames", entry<plugin_operator_names>},
};

}  // namespace

FunctionList plugin_functions() { return kFunctions; }

}  // namespace weft::binding
