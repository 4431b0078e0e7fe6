// The poison mark: a device failed in a way that only a new process mends. Set by drivers and the
// gate watch, checked by whatever would use a device.
//
// The mark is one atomic flag, so a check costs a load; the first reason is kept under a mutex.
#include <atomic>
#include <mutex>

#include "fabric/fabric.h"
#include "fabric/report.h"
#include "runtime/watchdog.h"

namespace fabric {
namespace {

struct Mark {
  std::atomic<bool> set{false};
  std::mutex mutex;
  std::string reason;  // under mutex
};

Mark& mark() {
  static auto* instance = new Mark;
  return *instance;
}

}  // namespace

bool poisoned() { return mark().set.load(std::memory_order_acquire); }

std::string poison_reason() {
  auto& m = mark();
  std::lock_guard lock(m.mutex);
  return m.reason;
}

void poison(const std::string& reason) {
  auto& m = mark();
  {
    std::lock_guard lock(m.mutex);
    if (m.set.load(std::memory_order_relaxed)) return;
    m.reason = reason;
    m.set.store(true, std::memory_order_release);
  }
  event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 0,
                 static_cast<uint32_t>(ErrorCode::kPoisoned));
  Watchdog::instance().arm(Watched::TimePoint::min());  // who waits for a device hears of it now
}

void check_poison() {
  auto& m = mark();
  if (!m.set.load(std::memory_order_acquire)) [[likely]]
    return;
  std::string reason;
  {
    std::lock_guard lock(m.mutex);
    reason = m.reason;
  }
  fail(ErrorCode::kPoisoned, "the process must restart: a device failed earlier (%s)",
       reason.c_str());
}

}  // namespace fabric
