// See group/join_devices.h.
#include "group/join_devices.h"

namespace fabric {

bool join_devices(const std::vector<Device*>& devices) {
  if (devices.empty()) fail(ErrorCode::kUsage, "a group needs at least one device");
  for (size_t i = 0; i < devices.size(); ++i) {
    for (size_t j = 0; j < devices.size(); ++j) {
      if (i != j && devices[i] == devices[j]) {
        fail(ErrorCode::kUsage, "%s is in the group twice", devices[i]->name().c_str());
      }
      if (&devices[i]->driver() != &devices[j]->driver()) {
        fail(ErrorCode::kDevice,
             "a group needs devices of one driver: %s and %s differ; make a group of each kind",
             devices[i]->name().c_str(), devices[j]->name().c_str());
      }
    }
  }
  bool peers = true;
  for (Device* a : devices) {
    for (Device* b : devices) {
      if (a != b) peers = enable_peer(*a, *b) && peers;
    }
  }
  return peers;
}

}  // namespace fabric
