// The one mutex under which work over several devices is enqueued: collective calls
// (group/launch.cc) and graphs that hold some (graph/graph.cc).
//
// Why one for the process. Groups may share devices, and beyond a bound their comm streams. Copy
// algorithms alone could interleave: each wait names an event that was recorded before, so waits
// follow the order of enqueuing and cannot form a cycle. Kernels that spin on their peers' flags
// can: with A before B on one device and B before A on the other, each waits for a kernel that
// stands behind its own. Enqueuing for all devices under one mutex gives every device the same
// order, which runtime/kernel_turns.h then makes that of the kernels. Launching only enqueues, so the mutex is held for microseconds, and no other lock but
// graphs' and allocators' is taken under it.
#pragma once

#include <mutex>

namespace fabric {

/// Held while work for several devices is enqueued. Leaked: threads may outlive static objects.
std::mutex& launch_order();

}  // namespace fabric
