// Operators that plugins bring: the fabric's plugin host publishes them here while it loads a plugin,
// dispatch() runs them as rows of the operator table, the Node binding lists them.
#pragma once

#include <string>
#include <vector>

namespace weft::plugin {

/// Installs the operator registrar in the fabric; ensure_registered() calls it.
void install();

struct LiveOperator {
  int id;
  std::string name;
  std::string schema;
};
/// Those that can be called now.
std::vector<LiveOperator> live_operators();

struct LoggedName {
  int id;
  std::string name;
};
/// All that plugins ever brought to this process, as events name them: "ns.op".
std::vector<LoggedName> logged_names();

}  // namespace weft::plugin
