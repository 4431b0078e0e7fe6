// The host's half of the C ABI: the table of functions that plugins call, and the registration that
// they fill while they open. library.cc gives both to a plugin.
#pragma once

#include <vector>

#include "fabric/algorithm.h"
#include "fabric/plugin.h"
#include "fabric/plugin_abi.h"

/// What a plugin has registered so far; nothing of it is visible yet.
struct WeftRegistration {
  std::vector<WeftAlgorithm> algorithms;
  std::vector<fabric::Choice> choices;
  std::vector<WeftOperator> operators;
};

namespace fabric::plugin {

const WeftHost& host_table();
/// nullptr: this process has no operators.
const OperatorRegistrar* operator_registrar();

}  // namespace fabric::plugin
