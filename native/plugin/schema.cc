// See schema.h. One pass of a regular expression an argument; runs at load alone.
#include "plugin/schema.h"

#include <regex>

#include "dispatch/op_table.h"

namespace weft::plugin {

std::string check_schema(const std::string& schema) {
  auto refuse = [&](const std::string& why) {
    fail(ErrorCode::kPlugin, "bad schema '%s': %s", schema.substr(0, 200).c_str(), why.c_str());
  };
  static const std::regex form(R"(([a-z]\w*::[a-z]\w*)\(([^()]*)\) -> ([0-4]))");
  static const std::regex argument(
      R"((Tensor|Tensor!|Tensor\?|float|int|bool|int\[\]) ([a-z]\w*)( = (-?(?:0|[1-9][0-9]*)(\.[0-9]+)?(e-?[0-9]+)?|true|false))?)");
  std::smatch parts;
  if (schema.size() > 1000 || !std::regex_match(schema, parts, form)) {
    refuse("it must read like 'ns::op(Tensor a, float alpha = 1) -> 1'");
  }
  const std::string name = parts[1], arguments = parts[2];
  const int results = std::stoi(parts[3]);
  int count = 0;
  bool tensor = false, written = false, defaults = false;
  for (size_t at = 0; at < arguments.size();) {
    size_t comma = std::min(arguments.find(", ", at), arguments.size());
    const std::string one = arguments.substr(at, comma - at);
    at = comma + 2;
    std::smatch found;
    if (!std::regex_match(one, found, argument)) {
      refuse("'" + one +
             "' is no argument: types are Tensor, Tensor?, Tensor!, float, int, int[], "
             "bool");
    }
    const std::string type = found[1];
    if (type == "Tensor!" && count > 0) refuse("only the first argument may be Tensor!");
    if (found[3].matched && (type[0] == 'T' || type == "int[]")) {
      refuse("only float, int and bool may have a default");
    }
    if (found[3].matched) {
      const std::string value = found[4];
      const bool flag = value == "true" || value == "false";
      const bool whole = !flag && !found[5].matched && !found[6].matched;
      if (flag != (type == "bool") || (type == "int" && !whole)) {
        refuse(found[2].str() + " is " + type + ", its default is not");
      }
    }
    if (defaults && !found[3].matched) refuse("after a default all arguments have one");
    defaults = defaults || found[3].matched;
    written = written || type == "Tensor!";
    tensor = tensor || (type == "Tensor" || type == "Tensor!");
    if (++count > kMaxArgs) refuse("more than " + std::to_string(kMaxArgs) + " arguments");
  }
  if (!tensor) refuse("it needs a Tensor: that tells the device");
  if (written != (results == 0)) {
    refuse("with Tensor! there are 0 results, without it 1 to 4");
  }
  return name;
}

}  // namespace weft::plugin
