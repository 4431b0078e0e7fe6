// The plugins of the process: shared libraries, opened as a transaction. See fabric/plugin.h and the
// head of fabric/plugin_abi.h.
//
// Design. One mutex for loading and unloading, held while the plugin's open() runs; open() must not
// load another plugin. A Library closes the handle when its last owner goes: the table of plugins,
// an algorithm that a group opened, an operator that runs or is
// part of a gradient graph, a graph that holds its calls. So unloading takes the plugin away
// from new calls at once and unmaps it when nothing uses it.
#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>

#include "fabric/error.h"
#include "fabric/plugin.h"
#include "plugin/host_table.h"
#include "plugin/session.h"
#include "plugin/status.h"

namespace fabric {
namespace {

class Library {
 public:
  explicit Library(const std::string& path) : path_(path) {
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      const char* why = dlerror();
      refuse(why != nullptr ? why : "the dynamic loader gave no reason");
    }
  }
  ~Library() {
    try {
      if (opened_ && plugin_->close != nullptr) plugin_->close();
    } catch (...) {  // nobody is left to be told
    }
    if (handle_ != nullptr) dlclose(handle_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  /// The version handshake: nothing of the plugin has run yet.
  void check() {
    plugin_ = static_cast<const WeftPlugin*>(dlsym(handle_, "weft_plugin"));
    if (plugin_ == nullptr) {
      refuse("it exports no `weft_plugin`: it is no plugin of weft, or hides the symbol");
    }
    if (plugin_->major != WEFT_ABI_MAJOR) {
      refuse("it was built for version " + std::to_string(plugin_->major) + "." +
             std::to_string(plugin_->minor) + " of the plugin interface, this weft has " + own() +
             ": build it against this weft's fabric/plugin_abi.h");
    }
    if (plugin_->minor > WEFT_ABI_MINOR) {
      refuse("it needs version " + std::to_string(plugin_->major) + "." +
             std::to_string(plugin_->minor) + " of the plugin interface, this weft has " + own() +
             ": use a newer weft");
    }
    if (plugin_->size < sizeof(WeftPlugin) || plugin_->size > 4096) {
      refuse("its `weft_plugin` says that it has " + std::to_string(plugin_->size) +
             " bytes; version " + own() + " has " + std::to_string(sizeof(WeftPlugin)));
    }
    if (plugin_->name == nullptr || plugin_->name[0] == '\0' || plugin_->version == nullptr ||
        plugin_->open == nullptr) {
      refuse("its `weft_plugin` lacks a name, a version or open()");
    }
  }

  void open(WeftRegistration& registration) {
    plugin::ask("plugin " + path_, "open",
                [&] { return plugin_->open(&plugin::host_table(), &registration); });
    opened_ = true;
  }

  const WeftPlugin& plugin() const { return *plugin_; }

  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::kPlugin, "plugin %s was not loaded: %s", path_.c_str(), why.c_str());
  }

 private:
  static std::string own() {
    return std::to_string(WEFT_ABI_MAJOR) + "." + std::to_string(WEFT_ABI_MINOR);
  }

  const std::string path_;
  void* handle_ = nullptr;
  const WeftPlugin* plugin_ = nullptr;
  bool opened_ = false;
};

struct Loaded {
  PluginInfo info;
  std::shared_ptr<Library> library;
};

struct Table {
  std::mutex mutex;  // guards loaded; held while a plugin opens
  std::vector<Loaded> loaded;
};

Table& table() {
  static auto* instance = new Table;  // never destroyed: graphs may hold plugins to the very end
  return *instance;
}

void publish_operators(const WeftRegistration& registration,
                       const std::shared_ptr<Library>& library, PluginInfo& info) {
  if (registration.operators.empty()) return;
  const OperatorRegistrar* registrar = plugin::operator_registrar();
  if (registrar == nullptr) {
    fail(ErrorCode::kPlugin, "it brings operators, and this process has no tensors");
  }
  info.operators = registrar->publish(info.name, registration.operators, library);
}

void withdraw_operators(const PluginInfo& info) {
  if (!info.operators.empty()) plugin::operator_registrar()->withdraw(info.operators);
}

// All of them or none.
void publish(const WeftRegistration& registration, const std::shared_ptr<Library>& library,
             PluginInfo& info) {
  std::vector<Algorithm> wrapped;
  for (const WeftAlgorithm& each : registration.algorithms) {
    wrapped.push_back(plugin::wrap(each, library));
  }
  for (const Choice& each : registration.choices) {
    const bool own = std::ranges::any_of(
        wrapped, [&](const Algorithm& algorithm) { return algorithm.name == each.name; });
    if (!own) {
      fail(ErrorCode::kPlugin, "a WeftChoice names %s, which the plugin does not bring",
           each.name.c_str());
    }
  }
  try {
    for (const Algorithm& each : wrapped) {
      register_algorithm(each);
      info.algorithms.push_back(each.name);
    }
    publish_operators(registration, library, info);
    add_choices(registration.choices);
  } catch (...) {
    withdraw_operators(info);
    for (const std::string& name : info.algorithms) unregister_algorithm(name);
    throw;
  }
}

}  // namespace

PluginInfo load_plugin(const std::string& path) {
  std::error_code missing;
  const std::filesystem::path whole = std::filesystem::canonical(path, missing);
  if (missing) {
    fail(ErrorCode::kPlugin, "plugin %s was not loaded: %s", path.c_str(),
         missing.message().c_str());
  }
  std::lock_guard lock(table().mutex);
  auto library = std::make_shared<Library>(whole.string());
  library->check();
  const WeftPlugin& plugin = library->plugin();
  for (const Loaded& each : table().loaded) {
    if (each.info.name == plugin.name) {
      library->refuse("a plugin called " + each.info.name + " is loaded already, from " +
                      each.info.path);
    }
  }
  PluginInfo info{plugin.name, plugin.version, whole.string(), plugin.major, plugin.minor, {}, {}};
  try {
    WeftRegistration registration;
    library->open(registration);
    publish(registration, library, info);
  } catch (const Error& error) {
    if (error.message().find(whole.string()) != std::string::npos) {
      fail(ErrorCode::kPlugin, "%s", error.message().c_str());
    }
    library->refuse(error.message());
  }
  table().loaded.push_back({info, library});
  return info;
}

void unload_plugin(const std::string& name) {
  Loaded gone;  // its last owner may run the plugin's close(): not under the lock
  std::lock_guard lock(table().mutex);
  auto& loaded = table().loaded;
  for (auto it = loaded.begin(); it != loaded.end(); ++it) {
    if (it->info.name != name) continue;
    for (const std::string& algorithm : it->info.algorithms) unregister_algorithm(algorithm);
    withdraw_operators(it->info);
    gone = std::move(*it);
    loaded.erase(it);
    return;
  }
  std::string known;
  for (const Loaded& each : loaded) known += (known.empty() ? "" : ", ") + each.info.name;
  fail(ErrorCode::kPlugin, "no plugin called %s is loaded%s%s", name.c_str(),
       known.empty() ? "" : "; there are ", known.c_str());
}

std::vector<PluginInfo> plugins() {
  std::lock_guard lock(table().mutex);
  std::vector<PluginInfo> all;
  for (const Loaded& each : table().loaded) all.push_back(each.info);
  return all;
}

void register_algorithm(const WeftAlgorithm& algorithm) {
  register_algorithm(plugin::wrap(algorithm, nullptr));
}

}  // namespace fabric
