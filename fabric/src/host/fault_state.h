// What the host driver asks about injected faults; fabric/faults.h is the side that sets them.
#pragma once

#include <cstdint>

#include "fabric/faults.h"

namespace fabric::host {

inline constexpr int kMaxHostDevices = 64;

int64_t device_delay_us(int ordinal);
bool peer_allowed(int a, int b);
faults::PairFault pair_fault(int from, int to);
/// Returns when the pair no longer hangs, after 30 s at the latest.
void wait_while_pair_hangs(int from, int to);
/// Is the wait that is being enqueued to be left out?
bool leaves_out_wait();
/// Counts one segment allocation on `ordinal`; true when it is to fail.
bool take_allocation_fault(int ordinal);
/// The same for staging memory.
bool take_staging_fault();
/// The same for one copy that is being enqueued on a stream of `ordinal`.
bool take_copy_fault(int ordinal);

}  // namespace fabric::host
