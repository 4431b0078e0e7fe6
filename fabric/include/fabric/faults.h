// Faults and delays that tests inject into the host driver: a slow device, a failed allocation, a
// lost peer, any peer-access matrix. Real code paths see them. One fault is for both drivers: an
// illegal address, after which the process must restart.
#pragma once

#include <cstdint>

namespace fabric {
class Stream;
}

namespace fabric::faults {

/// Every task on `ordinal`'s streams takes at least this long more (0 ends it).
void set_device_delay_us(int ordinal, int64_t delay_us);
/// The next `count` segment allocations on `ordinal` fail, after `skip` that succeed.
void fail_allocations(int ordinal, int count, int skip = 0);
/// The next `count` staging allocations of the host driver fail, after `skip` that succeed.
void fail_staging(int count, int skip = 0);
/// The next `count` copies on `ordinal`'s streams throw PeerAccessError when they are enqueued, after
/// `skip` that do not: a launch that breaks half-way.
void fail_copies(int ordinal, int count, int skip = 0);
/// Devices `a` and `b` can no longer (or again) reach each other's memory.
void set_peer_access(int a, int b, bool allowed);
/// What is wrong with the way of `from`'s streams to `to`'s memory: a byte of each copy turns, no
/// copy ends until the fault is gone (30 s at most), or it carries at most 0.05 GB/s.
enum class PairFault : uint8_t { kNone = 0, kLies = 1, kHangs = 2, kSlow = 3 };
void set_pair_fault(int from, int to, PairFault fault);
/// Asked before each wait of a host device's stream for an event; true leaves that wait out, as if the
/// code did not have it. nullptr ends it.
void set_wait_filter(bool (*leaves_out)());
/// Enqueues a kernel that writes to an illegal address. On CUDA the context is lost for good; the
/// host driver's twin is a task that throws. The fabric is poisoned once it ran.
void illegal_address(Stream& stream);
/// Removes every injected fault; what illegal_address() did stays.
void clear();

}  // namespace fabric::faults
