// The schema of a plugin's operator, checked before anything of it is kept. registrar.cc calls it.
#pragma once

#include <string>

namespace weft::plugin {

/// The operator's name, "ns::op". Throws PluginError that shows the schema and what is wrong in it.
std::string check_schema(const std::string& schema);

}  // namespace weft::plugin
