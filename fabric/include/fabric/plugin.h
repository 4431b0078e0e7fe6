// Loading plugins: shared libraries that bring collective algorithms and operators over the C ABI of
// fabric/plugin_abi.h. The Node binding calls it; fabric/src/plugin does it. Operators are kept by
// the layer above, which knows tensors: it installs an OperatorRegistrar.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "fabric/plugin_abi.h"

namespace fabric {

struct PluginInfo {
  std::string name;
  std::string version;
  std::string path;
  uint32_t abi_major = 0;
  uint32_t abi_minor = 0;
  std::vector<std::string> algorithms;
  std::vector<std::string> operators;
};

/// The operator table of the layer above, as the plugin host uses it.
struct OperatorRegistrar {
  /// What plugins call while their operators run.
  const WeftOperatorHost* host = nullptr;
  /// Makes all of them callable, or throws and none; their names. `library` is held while one runs
  /// or a graph needs it.
  std::vector<std::string> (*publish)(const std::string& plugin,
                                      std::span<const WeftOperator> operators,
                                      const std::shared_ptr<void>& library) = nullptr;
  /// Takes operators away from new calls.
  void (*withdraw)(std::span<const std::string> names) = nullptr;
};
/// Once, before any plugin is loaded; `registrar` is kept.
void install_operators(const OperatorRegistrar& registrar);
/// Calls a function of a plugin: its status and text, or an exception that left it, as an error of
/// `who`.
void ask_plugin(const std::string& who, const char* what, WeftStatus (*call)(void*),
                void* argument);
template <typename Call>
void ask_plugin(const std::string& who, const char* what, Call&& call) {
  using Fn = std::remove_reference_t<Call>;
  ask_plugin(who, what, [](void* fn) { return (*static_cast<Fn*>(fn))(); }, &call);
}
/// Runs `body` for a plugin: an Error becomes its status and the thread's text.
WeftStatus answer_plugin(void (*body)(void*), void* argument) noexcept;
template <typename Body>
WeftStatus answer_plugin(Body&& body) noexcept {
  using Fn = std::remove_reference_t<Body>;
  return answer_plugin([](void* fn) { (*static_cast<Fn*>(fn))(); }, &body);
}

/// Loads the library at `path`: all that it registers, or nothing and a PluginError that says why.
PluginInfo load_plugin(const std::string& path);
/// What the plugin brought is no longer chosen; the library goes when no group uses it any more.
/// Throws PluginError when no plugin is called so.
void unload_plugin(const std::string& name);
std::vector<PluginInfo> plugins();

/// Registers an algorithm from inside the process, through the same struct. What `algorithm` points
/// to must stay good until it is unregistered and no group uses it.
void register_algorithm(const WeftAlgorithm& algorithm);

}  // namespace fabric
