// See runtime/device_name.h.
#include "runtime/device_name.h"

#include <charconv>

namespace fabric {
namespace {

bool parse_number(std::string_view text, int& value) {
  if (text.empty() || text.size() > 4 || (text.size() > 1 && text[0] == '0')) return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

}  // namespace

std::optional<DeviceName> parse_device_name(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view driver = text.substr(0, colon);
  DeviceName name;
  if (driver == "host") {
    name.kind = DriverKind::kHost;
  } else if (driver == "cuda") {
    name.kind = DriverKind::kCuda;
  } else {
    return std::nullopt;
  }
  std::string_view number = text.substr(colon + 1);
  const size_t slash = number.find('/');
  if (slash != std::string_view::npos) {
    if (!parse_number(number.substr(slash + 1), name.virtual_index)) return std::nullopt;
    number = number.substr(0, slash);
  }
  if (!parse_number(number, name.ordinal)) return std::nullopt;
  return name;
}

}  // namespace fabric
