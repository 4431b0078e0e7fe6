// See log/device_time.h.
#include "log/device_time.h"

#include <algorithm>
#include <vector>

#include "fabric/fabric.h"

namespace fabric::event_log {

void stamp_record(uint16_t device, uint16_t stream, RecordHandle record, uint64_t host_ns) {
  if (device == kNoDevice) return;
  try {
    Device& owner = device_at(device);
    Stream* queue = owner.find_stream(stream);
    if (queue != nullptr) {
      owner.driver().stamp(owner.ordinal(), queue->handle(), record, host_ns);
    }
  } catch (const Error&) {  // no such device: the record keeps no device time
  }
}

void start_clocks() {
  for (Device* device : devices()) device->driver().start_clock(device->ordinal());
}

void collect_stamps() {
  std::vector<Driver*> drivers;
  for (Device* device : devices()) {
    Driver* driver = &device->driver();
    if (std::find(drivers.begin(), drivers.end(), driver) == drivers.end()) {
      drivers.push_back(driver);
    }
  }
  for (Driver* driver : drivers) driver->collect_stamps();
}

}  // namespace fabric::event_log
