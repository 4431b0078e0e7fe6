// The devices that were opened. Asked by everything above.
//
// Design. The table only grows, under one mutex; readers take a count and pointers with acquire and
// no lock. It is made once and never destroyed: stream workers and addon code may still run while
// static objects go away.
#include <array>
#include <atomic>
#include <mutex>

#include "fabric/fabric.h"
#include "runtime/device_name.h"
#include "runtime/driver_table.h"
#include "runtime/shutdown.h"

namespace fabric {
namespace {

constexpr size_t kMaxDevices = 1024;

struct DeviceTable {
  std::mutex mutex;  // held to open a device
  std::array<std::atomic<Device*>, kMaxDevices> devices{};
  std::atomic<size_t> count{0};
};

DeviceTable& table() {
  static auto* instance = new DeviceTable;
  return *instance;
}

}  // namespace

Device* find_device(const std::string& name) {
  auto& t = table();
  const size_t count = t.count.load(std::memory_order_acquire);
  for (size_t i = 0; i < count; ++i) {
    Device* device = t.devices[i].load(std::memory_order_acquire);
    if (device->name() == name) return device;
  }
  return nullptr;
}

Device& open_device(const std::string& name, int virtual_count) {
  check_poison();
  if (Device* device = find_device(name)) return *device;
  if (shut_down()) {
    fail(ErrorCode::kUsage, "the fabric was shut down; no device can be opened any more");
  }
  const auto parsed = parse_device_name(name);
  Driver* driver = parsed ? find_driver(parsed->kind) : nullptr;
  if (driver == nullptr || parsed->ordinal >= driver->device_count()) {
    fail(ErrorCode::kDevice, "there is no device '%s'; this machine has %s", name.c_str(),
         known_devices().c_str());
  }
  if (parsed->virtual_index >= 0 && parsed->virtual_index >= virtual_count) {
    fail(ErrorCode::kDevice, "'%s' needs its device to be split in at least %d; it is split in %d",
         name.c_str(), parsed->virtual_index + 1, virtual_count);
  }
  auto& t = table();
  std::lock_guard lock(t.mutex);
  if (Device* device = find_device(name)) return *device;
  const size_t index = t.count.load(std::memory_order_relaxed);
  if (index == kMaxDevices) fail(ErrorCode::kDevice, "too many devices are open");
  auto device = std::make_unique<Device>(*driver, parsed->ordinal, parsed->virtual_index,
                                         virtual_count, static_cast<uint16_t>(index));
  t.devices[index].store(device.get(), std::memory_order_release);
  t.count.store(index + 1, std::memory_order_release);
  return *device.release();
}

Device& device_at(uint16_t index) {
  auto& t = table();
  const size_t count = t.count.load(std::memory_order_acquire);
  if (index >= count) {
    fail(ErrorCode::kDevice, "there is no device with index %u; %zu are open",
         static_cast<unsigned>(index), count);
  }
  return *t.devices[index].load(std::memory_order_acquire);
}

std::vector<Device*> devices() {
  auto& t = table();
  std::vector<Device*> result;
  const size_t count = t.count.load(std::memory_order_acquire);
  for (size_t i = 0; i < count; ++i) {
    result.push_back(t.devices[i].load(std::memory_order_acquire));
  }
  return result;
}

}  // namespace fabric
