// The first kernel-found error of each device, kept until somebody waits for the device.
#include "core/async_error.h"

#include <array>
#include <mutex>

#include "dispatch/op_table.h"

namespace weft {
namespace {

struct Slot {
  std::atomic<bool> set{false};  // read without the mutex on every wait
  std::mutex mutex;              // guards the rest
  uint16_t op = 0;
  int64_t index = 0, bound = 0;
};
std::array<Slot, 256>& slots() {
  static auto* s = new std::array<Slot, 256>();
  return *s;
}

std::atomic<void (*)(uint16_t)> g_source{nullptr};

}  // namespace

void set_async_error_source(void (*poll)(uint16_t device)) {
  g_source.store(poll, std::memory_order_release);
}

void note_index_error(uint16_t device, uint16_t op, int64_t index, int64_t bound) {
  Slot& slot = slots()[device % 256];
  std::lock_guard<std::mutex> guard(slot.mutex);
  if (slot.set.load(std::memory_order_relaxed)) return;
  slot.op = op;
  slot.index = index;
  slot.bound = bound;
  slot.set.store(true, std::memory_order_release);
}

void throw_async_error(const Device& device) {
  if (auto poll = g_source.load(std::memory_order_acquire)) poll(device.index());
  Slot& slot = slots()[device.index() % 256];
  if (!slot.set.load(std::memory_order_acquire)) return;
  std::lock_guard<std::mutex> guard(slot.mutex);
  if (!slot.set.load(std::memory_order_relaxed)) return;
  slot.set.store(false, std::memory_order_relaxed);
  const char* name = slot.op < op_count() ? op_name(static_cast<Op>(slot.op)) : "operator";
  fail(ErrorCode::kUsage,
       "%s on %s met index %lld, which is not in 0..%lld; the work since then used zeros in its "
       "place",
       name, device.name().c_str(), static_cast<long long>(slot.index),
       static_cast<long long>(slot.bound - 1));
}

}  // namespace weft
