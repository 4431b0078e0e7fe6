// The process-wide tables: drivers and devices, the poison mark, shutdown. Asked by everything
// above.
//
// Design. The device table only grows, under one mutex; readers take a count and pointers with
// acquire and no lock. Everything here is made once and never destroyed: stream workers and addon
// code may still run while static objects go away.
#include "fabric/fabric.h"

#include <array>
#include <atomic>
#include <charconv>
#include <mutex>
#include <string_view>

#if defined(WEFT_HAVE_CUDA)
#include "cuda/cuda_driver.h"
#endif
#include "host/host_driver.h"

namespace fabric {
namespace {

constexpr size_t kMaxDevices = 1024;
constexpr int64_t kShutdownMs = 10'000;

struct Tables {
  std::mutex mutex;
  std::array<std::atomic<Driver*>, 2> drivers{};
  std::array<std::atomic<Device*>, kMaxDevices> devices{};
  std::atomic<size_t> count{0};
  std::once_flag built_in;
  std::atomic<bool> poisoned{false};
  std::string poison_reason;  // under mutex
  std::atomic<bool> stopped{false};
};

Tables& tables() {
  static auto* instance = new Tables;
  return *instance;
}

void register_built_in() {
  std::call_once(tables().built_in, [] {
    register_driver(std::make_unique<host::HostDriver>());
#if defined(WEFT_HAVE_CUDA)
    if (auto driver = cuda::CudaDriver::create()) register_driver(std::move(driver));
#endif
  });
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

struct ParsedName {
  DriverKind kind = DriverKind::kHost;
  int ordinal = -1;
  int virtual_index = -1;
};

bool parse_number(std::string_view text, int& value) {
  if (text.empty() || text.size() > 4 || (text.size() > 1 && text[0] == '0')) return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

bool parse(std::string_view name, ParsedName& parsed) {
  const size_t colon = name.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view driver = name.substr(0, colon);
  if (driver == "host") {
    parsed.kind = DriverKind::kHost;
  } else if (driver == "cuda") {
    parsed.kind = DriverKind::kCuda;
  } else {
    return false;
  }
  std::string_view number = name.substr(colon + 1);
  const size_t slash = number.find('/');
  if (slash != std::string_view::npos) {
    if (!parse_number(number.substr(slash + 1), parsed.virtual_index)) return false;
    number = number.substr(0, slash);
  }
  return parse_number(number, parsed.ordinal);
}

}  // namespace

void register_driver(std::unique_ptr<Driver> driver) {
  auto& slot = tables().drivers[static_cast<size_t>(driver->kind())];
  Driver* empty = nullptr;
  if (!slot.compare_exchange_strong(empty, driver.get(), std::memory_order_acq_rel)) {
    fail(ErrorCode::kUsage, "a driver called '%s' is already registered", driver->name());
  }
  driver.release();
}

Driver* find_driver(DriverKind kind) {
  register_built_in();
  Driver* driver = tables().drivers[static_cast<size_t>(kind)].load(std::memory_order_acquire);
  return driver != nullptr && driver->device_count() > 0 ? driver : nullptr;
}

Device* find_device(const std::string& name) {
  auto& t = tables();
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
  auto& t = tables();
  if (t.stopped.load(std::memory_order_acquire)) {
    fail(ErrorCode::kUsage, "the fabric was shut down; no device can be opened any more");
  }
  ParsedName parsed;
  Driver* driver = parse(name, parsed) ? find_driver(parsed.kind) : nullptr;
  if (driver == nullptr || parsed.ordinal >= driver->device_count()) {
    fail(ErrorCode::kDevice, "there is no device '%s'; this machine has %s", name.c_str(),
         known_devices().c_str());
  }
  if (parsed.virtual_index >= 0 && parsed.virtual_index >= virtual_count) {
    fail(ErrorCode::kDevice, "'%s' needs its device to be split in at least %d; it is split in %d",
         name.c_str(), parsed.virtual_index + 1, virtual_count);
  }
  std::lock_guard lock(t.mutex);
  if (Device* device = find_device(name)) return *device;
  const size_t index = t.count.load(std::memory_order_relaxed);
  if (index == kMaxDevices) fail(ErrorCode::kDevice, "too many devices are open");
  auto device = std::make_unique<Device>(*driver, parsed.ordinal, parsed.virtual_index,
                                         virtual_count, static_cast<uint16_t>(index));
  t.devices[index].store(device.get(), std::memory_order_release);
  t.count.store(index + 1, std::memory_order_release);
  return *device.release();
}

Device& device_at(uint16_t index) {
  auto& t = tables();
  const size_t count = t.count.load(std::memory_order_acquire);
  if (index >= count) {
    fail(ErrorCode::kDevice, "there is no device with index %u; %zu are open",
         static_cast<unsigned>(index), count);
  }
  return *t.devices[index].load(std::memory_order_acquire);
}

std::vector<Device*> devices() {
  auto& t = tables();
  std::vector<Device*> result;
  const size_t count = t.count.load(std::memory_order_acquire);
  for (size_t i = 0; i < count; ++i) {
    result.push_back(t.devices[i].load(std::memory_order_acquire));
  }
  return result;
}

bool poisoned() { return tables().poisoned.load(std::memory_order_acquire); }

void poison(const std::string& reason) {
  auto& t = tables();
  {
    std::lock_guard lock(t.mutex);
    if (t.poisoned.load(std::memory_order_relaxed)) return;
    t.poison_reason = reason;
    t.poisoned.store(true, std::memory_order_release);
  }
  event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 0,
                 static_cast<uint32_t>(ErrorCode::kPoisoned));
}

void check_poison() {
  auto& t = tables();
  if (!t.poisoned.load(std::memory_order_acquire)) [[likely]]
    return;
  std::string reason;
  {
    std::lock_guard lock(t.mutex);
    reason = t.poison_reason;
  }
  fail(ErrorCode::kPoisoned, "the process must restart: a device failed earlier (%s)",
       reason.c_str());
}

void shutdown() {
  auto& t = tables();
  if (t.stopped.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t begin = event_log::now_ns();
  auto left_ms = [&] {
    const auto spent = static_cast<int64_t>((event_log::now_ns() - begin) / 1'000'000);
    return kShutdownMs > spent ? kShutdownMs - spent : 0;
  };
  for (Device* device : devices()) {
    for (Stream* stream : device->streams()) {
      try {
        stream->device().driver().synchronize_stream(stream->handle(), left_ms());
      } catch (const Error&) {  // a capture that nobody ended
      }
    }
  }
  for (auto& slot : t.drivers) {
    if (Driver* driver = slot.load(std::memory_order_acquire)) driver->stop(left_ms() + 100);
  }
}

}  // namespace fabric
