// See runtime/driver_table.h. Slots are filled once, with a compare and exchange; readers take no
// lock.
#include "runtime/driver_table.h"

#include <array>
#include <atomic>
#include <mutex>

#include "fabric/fabric.h"

#if defined(WEFT_HAVE_CUDA)
#include "cuda/cuda_driver.h"
#endif
#include "host/host_driver.h"

namespace fabric {
namespace {

struct DriverTable {
  std::array<std::atomic<Driver*>, 2> drivers{};
  std::once_flag built_in;
};

DriverTable& table() {
  static auto* instance = new DriverTable;
  return *instance;
}

void register_built_in() {
  std::call_once(table().built_in, [] {
    register_driver(std::make_unique<host::HostDriver>());
#if defined(WEFT_HAVE_CUDA)
    if (auto driver = cuda::CudaDriver::create()) register_driver(std::move(driver));
#endif
  });
}

}  // namespace

void register_driver(std::unique_ptr<Driver> driver) {
  auto& slot = table().drivers[static_cast<size_t>(driver->kind())];
  Driver* empty = nullptr;
  if (!slot.compare_exchange_strong(empty, driver.get(), std::memory_order_acq_rel)) {
    fail(ErrorCode::kUsage, "a driver called '%s' is already registered", driver->name());
  }
  driver.release();
}

Driver* find_driver(DriverKind kind) {
  register_built_in();
  Driver* driver = table().drivers[static_cast<size_t>(kind)].load(std::memory_order_acquire);
  return driver != nullptr && driver->device_count() > 0 ? driver : nullptr;
}

std::vector<Driver*> registered_drivers() {
  std::vector<Driver*> list;
  for (auto& slot : table().drivers) {
    if (Driver* driver = slot.load(std::memory_order_acquire)) list.push_back(driver);
  }
  return list;
}

std::string known_devices() {
  std::string text;
  for (DriverKind kind : {DriverKind::kCuda, DriverKind::kHost}) {
    Driver* driver = find_driver(kind);
    if (driver == nullptr) continue;
    const std::string name = driver->name();
    const int last = driver->device_count() - 1;
    if (!text.empty()) text += ", ";
    text += name + ":0";
    if (last > 0) text += " to " + name + ":" + std::to_string(last);
  }
  return text;
}

}  // namespace fabric
