// How long a thread of the host driver looks for work before it sleeps. Used by the stream workers,
// event waits and the compute pool.
//
// Design. Spinning saves the wake-up (a few microseconds) when work comes in a steady flow, and
// steals the core from somebody who has work when it does not. So only a few threads of the process
// may spin at once (half the cores), each for at most kMaxSpinNs, and the budget shrinks when it
// was in vain.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fabric::host {

inline void pause_core() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Nanoseconds of the steady clock.
int64_t clock_ns();
/// True when this thread may spin now; then release_spin() must follow.
bool acquire_spin();
void release_spin();

class SpinBudget {
 public:
  /// Spins until `ready()` or the budget is used up; returns what ready() said last.
  template <typename Ready>
  bool spin(Ready&& ready) {
    if (ready()) return true;
    if (!acquire_spin()) return false;
    const int64_t until = clock_ns() + budget_ns_;
    bool found = false;
    do {
      for (int i = 0; i < 32 && !found; ++i) {
        pause_core();
        found = ready();
      }
    } while (!found && clock_ns() < until);
    release_spin();
    budget_ns_ = found ? (budget_ns_ * 2 < kMaxSpinNs ? budget_ns_ * 2 : kMaxSpinNs)
                       : (budget_ns_ / 2 > kMinSpinNs ? budget_ns_ / 2 : kMinSpinNs);
    return found;
  }

 private:
  static constexpr int64_t kMinSpinNs = 1'000;
  static constexpr int64_t kMaxSpinNs = 20'000;
  int64_t budget_ns_ = 5'000;
};

}  // namespace fabric::host
