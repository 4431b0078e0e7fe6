// The steady clock for records of the event log, read from the processor's counter: a third of what
// clock_gettime costs. log/event_log.cc asks at every record.
//
// Design. A mapping (ticks, ns, scale) turns the counter into nanoseconds; it holds for 10 ms, then the
// reader that notices makes the next one, from the clock itself. Readers take no lock: the mapping is a
// seqlock, whose words are stored with release and loaded with acquire, so that a reader that sees a word
// of a newer mapping also sees the newer version, and asks the clock. So does who finds another thread at
// the next mapping, a counter behind the mapping's (another socket's), or no mapping yet.
//  - The scale is measured over the last one to two seconds, so that it follows a clock that is being
//    slewed; one that is 0.1 % off its predecessor (the machine slept, or was moved) is dropped, and
//    measured anew.
//  - Used only where the kernel itself keeps its clock by this counter; elsewhere now() is the clock.
//  - How far off: what the clock was slewed within 10 ms, and what reading both takes; below 1 us.
#pragma once

#include <atomic>
#include <cstdint>

#include "memory/tick_clock.h"

namespace fabric::event_log {

class EventClock {
 public:
  /// `usable`: the counter is as steady as the clock.
  explicit EventClock(bool usable) : usable_(usable) {}

  uint64_t now() {
    const uint64_t version = version_.load(std::memory_order_acquire);
    const uint64_t ticks = ticks_.load(std::memory_order_acquire);
    const uint64_t ns = ns_.load(std::memory_order_acquire);
    const uint64_t scale = scale_.load(std::memory_order_acquire);
    const uint64_t horizon = horizon_.load(std::memory_order_acquire);
    const uint64_t since = fabric::ticks() - ticks;
    if (since >= horizon || (version & 1) != 0 ||
        version_.load(std::memory_order_relaxed) != version) [[unlikely]] {
      return renew();
    }
    return ns + static_cast<uint64_t>(static_cast<unsigned __int128>(since) * scale >> kScaleBits);
  }

 private:
  static constexpr int kScaleBits = 32;
  struct Pair {
    uint64_t ticks = 0, ns = 0;
  };

  uint64_t renew();
  static Pair read_both();
  void publish(const Pair& at, uint64_t scale);

  const bool usable_;
  alignas(64) std::atomic<uint64_t> version_{0};  // odd while the next four are written
  std::atomic<uint64_t> ticks_{0}, ns_{0}, scale_{0}, horizon_{0};
  alignas(64) std::atomic<bool> renewing_{false};  // who set it owns what follows
  Pair older_{}, newer_{};                         // the scale's base, and its next one
};

/// The process's. Never destroyed.
EventClock& event_clock();

}  // namespace fabric::event_log
