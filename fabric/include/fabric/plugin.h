// Loading plugins: shared libraries that bring collective algorithms over the C ABI of
// fabric/plugin_abi.h. The Node binding calls it; fabric/src/plugin does it.
#pragma once

#include <string>
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
};

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
