// See schema.h. One pass of a regular expression an argument; runs at load alone.
#include "plugin/schema.h"

#include <regex>

#include "dispatch/op_table.h"

namespace weft::plugin {
namespace {

struct Refused {
  const char* type;  // a pattern
  const char* why;
};
// What the built-in operators or other libraries have, and the interface cannot carry.
constexpr Refused kRefused[] = {
    {R"(Tensor[!?]\[\]|Tensor\[\][!?])",
     "a list of tensors is read, and has no gaps: Tensor[]; only the first argument, a Tensor!, is "
     "written in place"},
    {R"(Tensor[!?]?\(.*\)[!?]?)",
     "results are new tensors, so a view of an argument cannot be returned: write Tensor, and "
     "copy"},
    {R"(dtype|ScalarType)", "a dtype cannot be passed: take a tensor's, or give an int"},
    {R"(device|Device)", "a device cannot be passed: an operator runs where its tensors lie"},
    {R"((float|bool|Scalar|double)\[\d*\])",
     "a list of numbers is int[]: give a Tensor for others"},
    {R"((float|int|bool|double|Scalar|int\[\])\?)", "only a Tensor may be absent: give a default"},
    {R"(str|string|text)", "text cannot be passed: give an int"},
};

[[noreturn]] void refuse(const std::string& schema, const std::string& why) {
  fail(ErrorCode::kPlugin, "bad schema '%s': %s", schema.substr(0, 200).c_str(), why.c_str());
}

int results_of(const std::string& schema, const std::string& text) {
  if (text.size() == 1 && text[0] >= '0' && text[0] <= '4') return text[0] - '0';
  refuse(schema, "'-> " + text + "': results are new tensors, and the schema counts them, 1 to 4");
}

/// The default of an argument, with what the pattern found in it.
void check_default(const std::string& schema, const std::smatch& found) {
  const std::string type = found[1], value = found[4];
  if (type[0] == 'T' || type == "int[]") {
    refuse(schema, "only float, int and bool may have a default");
  }
  const bool flag = value == "true" || value == "false";
  const bool whole = !flag && !found[5].matched && !found[6].matched;
  if (flag != (type == "bool") || (type == "int" && !whole)) {
    refuse(schema, found[2].str() + " is " + type + ", its default is not");
  }
}

[[noreturn]] void refuse_argument(const std::string& schema, const std::string& one) {
  const std::string type = one.substr(0, one.rfind(' '));
  for (const Refused& each : kRefused) {
    if (std::regex_match(type, std::regex(each.type))) {
      refuse(schema, "'" + one + "': " + each.why);
    }
  }
  refuse(schema, "'" + one +
                     "' is no argument: types are Tensor, Tensor?, Tensor!, Tensor[], float, int, "
                     "int[], bool");
}

}  // namespace

std::string check_schema(const std::string& schema) {
  static const std::regex form(R"(([a-z]\w*::[a-z]\w*)\((.*)\) -> (.+))");
  static const std::regex argument(
      R"((Tensor|Tensor!|Tensor\?|Tensor\[\]|float|int|bool|int\[\]) ([a-z]\w*)( = (-?(?:0|[1-9][0-9]*)(\.[0-9]+)?(e-?[0-9]+)?|true|false))?)");
  std::smatch parts;
  if (schema.size() > 1000 || !std::regex_match(schema, parts, form)) {
    refuse(schema, "it must read like 'ns::op(Tensor a, float alpha = 1) -> 1'");
  }
  const std::string name = parts[1], arguments = parts[2];
  const int results = results_of(schema, parts[3]);
  int count = 0;
  bool tensor = false, written = false, defaults = false;
  for (size_t at = 0; at < arguments.size();) {
    size_t comma = std::min(arguments.find(", ", at), arguments.size());
    const std::string one = arguments.substr(at, comma - at);
    at = comma + 2;
    std::smatch found;
    if (!std::regex_match(one, found, argument)) refuse_argument(schema, one);
    const std::string type = found[1];
    if (type == "Tensor!" && count > 0) refuse(schema, "only the first argument may be Tensor!");
    if (found[3].matched) check_default(schema, found);
    if (defaults && !found[3].matched) refuse(schema, "after a default all arguments have one");
    defaults = defaults || found[3].matched;
    written = written || type == "Tensor!";
    tensor = tensor || (type[0] == 'T' && type != "Tensor?");
    if (++count > kMaxArgs) {
      refuse(schema, "more than " + std::to_string(kMaxArgs) + " arguments");
    }
  }
  if (!tensor) refuse(schema, "it needs a Tensor or Tensor[]: that tells the device");
  if (written != (results == 0)) {
    refuse(schema, "with Tensor! there are 0 results, without it 1 to 4");
  }
  return name;
}

}  // namespace weft::plugin
