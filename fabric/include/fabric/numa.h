// Which processors a device is next to. Bindings ask when they describe a device.
#pragma once

#include <string>

namespace fabric {

/// NUMA node of the device at this PCI address ("00000000:3b:00.0", as drivers write it), from sysfs;
/// -1 when not told.
int numa_node(const std::string& pci, const std::string& sysfs = "/sys");

}  // namespace fabric
