// See log/event_clock.h.
#include "log/event_clock.h"

#include <fstream>
#include <string>

#include "fabric/event_log.h"

namespace fabric::event_log {
namespace {

constexpr uint64_t kHoldsNs = 10'000'000;
constexpr uint64_t kShortestBaseNs = 10'000'000;
constexpr uint64_t kBaseNs = 1'000'000'000;

bool kernel_uses_the_counter() {
#if defined(__x86_64__)
  std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  std::string source;
  return (file >> source) && source == "tsc";
#else
  return false;
#endif
}

}  // namespace

EventClock& event_clock() {
  static auto* clock = new EventClock(kernel_uses_the_counter());
  return *clock;
}

EventClock::Pair EventClock::read_both() {
  Pair best;
  uint64_t narrowest = ~uint64_t{0};
  for (int i = 0; i < 5; ++i) {  // whoever is interrupted between the two reads again
    const uint64_t before = fabric::ticks();
    const uint64_t ns = now_ns();
    const uint64_t width = fabric::ticks() - before;
    if (width >= narrowest) continue;
    narrowest = width;
    best = {before + width / 2, ns};
  }
  return best;
}

void EventClock::publish(const Pair& at, uint64_t scale) {
  const uint64_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  ticks_.store(at.ticks, std::memory_order_release);
  ns_.store(at.ns, std::memory_order_release);
  scale_.store(scale, std::memory_order_release);
  const uint64_t horizon = scale == 0 ? 0 : (kHoldsNs << kScaleBits) / scale;
  horizon_.store(horizon, std::memory_order_release);
  version_.store(version + 2, std::memory_order_release);
}

uint64_t EventClock::renew() {
  if (!usable_ || renewing_.exchange(true, std::memory_order_acquire)) return now_ns();
  const Pair here = read_both();
  if (older_.ns == 0) older_ = newer_ = here;
  const uint64_t ns = here.ns - older_.ns;
  const uint64_t ticks = here.ticks - older_.ticks;
  if (ns >= kShortestBaseNs && ticks > 0 && here.ticks > older_.ticks) {
    const auto scale =
        static_cast<uint64_t>((static_cast<unsigned __int128>(ns) << kScaleBits) / ticks);
    const uint64_t before = scale_.load(std::memory_order_relaxed);
    const uint64_t off = scale > before ? scale - before : before - scale;
    const bool odd = before != 0 && off > before / 1000;
    publish(here, odd ? 0 : scale);
    if (odd) older_ = newer_ = here;
  } else if (here.ticks < older_.ticks) {
    publish(here, 0);
    older_ = newer_ = here;
  }
  if (here.ns - newer_.ns >= kBaseNs) {
    older_ = newer_;
    newer_ = here;
  }
  renewing_.store(false, std::memory_order_release);
  return now_ns();
}

}  // namespace fabric::event_log
