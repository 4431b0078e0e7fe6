// What devices must be to form a group. Group::create calls it.
#pragma once

#include <vector>

#include "fabric/fabric.h"

namespace fabric {

/// Throws UsageError and DeviceError where devices are none, twice the same or of two drivers. Enables
/// peer access between them; true: every device reaches every other.
bool join_devices(const std::vector<Device*>& devices);

}  // namespace fabric
