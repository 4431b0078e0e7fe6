// Faults and delays that tests inject into the host driver: a slow device, a failed allocation, a
// lost peer, any peer-access matrix. Real code paths see them; nothing here exists on CUDA.
#pragma once

#include <cstdint>

namespace fabric::faults {

/// Every task on `ordinal`'s streams takes at least this long more (0 ends it).
void set_device_delay_us(int ordinal, int64_t delay_us);
/// The next `count` segment allocations on `ordinal` fail, after `skip` that succeed.
void fail_allocations(int ordinal, int count, int skip = 0);
/// Devices `a` and `b` can no longer (or again) reach each other's memory.
void set_peer_access(int a, int b, bool allowed);
/// Removes every injected fault.
void clear();

}  // namespace fabric::faults
