// The drivers of the process, at most one of each kind. Registered at the first question, never
// removed: stream workers and addon code may still run while static objects go away. Asked by
// runtime/device_table.cc and runtime/shutdown.cc; the rest uses fabric/fabric.h.
#pragma once

#include <string>
#include <vector>

#include "fabric/driver.h"

namespace fabric {

/// Every driver that was registered, also one without devices.
std::vector<Driver*> registered_drivers();
/// "cuda:0 to cuda:3, host:0 to host:63": what this machine has, for error messages.
std::string known_devices();

}  // namespace fabric
