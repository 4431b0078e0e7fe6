// The event log's clock against the steady clock that it stands for.
#include "log/event_clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "fabric/event_log.h"

namespace fabric::event_log {
namespace {

constexpr int64_t kOffNs = 20'000;  // a reader may be stopped between its two readings: see below

/// How far the clock was off, between two readings of the steady clock that are close to each other.
int64_t off(EventClock& clock) {
  for (;;) {
    const auto before = static_cast<int64_t>(now_ns());
    const auto told = static_cast<int64_t>(clock.now());
    const auto after = static_cast<int64_t>(now_ns());
    if (after - before > kOffNs) continue;
    return told < before ? before - told : told > after ? told - after : 0;
  }
}

TEST(EventClock, FollowsTheSteadyClockOverItsRenewals) {
  for (const bool usable : {true, false}) {
    EventClock clock(usable);
    const uint64_t end = now_ns() + 200'000'000;  // a score of mappings
    int64_t worst = 0;
    while (now_ns() < end) worst = std::max(worst, off(clock));
    EXPECT_LT(worst, 10'000) << (usable ? "by the counter" : "by the clock");
  }
}

TEST(EventClock, ManyReadersWhileItIsRenewedNeverSeeHalfAMapping) {
  EventClock clock(true);
  std::atomic<int64_t> worst{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const uint64_t end = now_ns() + 200'000'000;
      while (now_ns() < end) {
        const int64_t here = off(clock);
        int64_t before = worst.load();
        while (here > before && !worst.compare_exchange_weak(before, here)) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(worst.load(), 100'000);  // half a mapping is off by its age or by years
}

}  // namespace
}  // namespace fabric::event_log
