// When something happened, cheap enough for every allocation: the processor's counter, read by one
// instruction (clock_gettime costs several times that, and a system call where the kernel has no
// fast clock). It becomes nanoseconds only where a report asks. The allocator uses it.
#pragma once

#include <cstdint>

#include "fabric/event_log.h"

namespace fabric {

inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t now;
  asm volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
#else
  return event_log::now_ns();
#endif
}

/// Measures the counter's rate between its construction and the question.
class TickClock {
 public:
  /// Nanoseconds from `then` to the construction of this reading.
  class Reading {
   public:
    explicit Reading(const TickClock& clock)
        : now_(ticks()),
          ns_per_tick_(now_ > clock.ticks_ ? static_cast<double>(event_log::now_ns() - clock.ns_) /
                                                 static_cast<double>(now_ - clock.ticks_)
                                           : 0) {}
    uint64_t age_ns(uint64_t then) const {  // counters of two sockets may differ a little
      return then < now_ ? static_cast<uint64_t>(static_cast<double>(now_ - then) * ns_per_tick_)
                         : 0;
    }

   private:
    uint64_t now_;
    double ns_per_tick_;
  };

 private:
  uint64_t ticks_ = ticks();
  uint64_t ns_ = event_log::now_ns();
};

}  // namespace fabric
