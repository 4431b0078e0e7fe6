// Deadlines of the host driver's bounded waits, in nanoseconds of the steady clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

#include "host/spin.h"

namespace fabric::host {

inline std::chrono::steady_clock::time_point at_ns(int64_t ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

/// The deadline `timeout_ms` from now; a negative limit is taken as 0, a huge one as a year.
inline int64_t deadline_in_ms(int64_t timeout_ms) {
  constexpr int64_t kYearMs = 365LL * 24 * 3600 * 1000;
  if (timeout_ms < 0) timeout_ms = 0;
  if (timeout_ms > kYearMs) timeout_ms = kYearMs;
  return clock_ns() + timeout_ms * 1'000'000;
}

}  // namespace fabric::host
