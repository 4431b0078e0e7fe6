// Device names as text: "host:3", "cuda:0", "cuda:0/2" (the third part of a split GPU).
// runtime/device_table.cc opens devices by them.
#pragma once

#include <optional>
#include <string_view>

#include "fabric/driver.h"

namespace fabric {

struct DeviceName {
  DriverKind kind = DriverKind::kHost;
  int ordinal = -1;
  int virtual_index = -1;  ///< -1: the whole device
};

/// nullopt when `text` is no device name; numbers have at most four digits and no leading zero.
std::optional<DeviceName> parse_device_name(std::string_view text);

}  // namespace fabric
