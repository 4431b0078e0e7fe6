// Turns of work whose kernels wait for each other: calls of algorithms that keep a session, and
// graphs that hold some. group/launch.cc and graph/graph.cc take one before they enqueue.
//
// Why. Calls of groups that share a device run on streams of their own and may run beside each
// other. For copies, sums and event edges that is always safe: each wait names an event that was
// recorded before, so no cycle can form. A kernel that spins until a kernel of its group on another
// device has come is different, since a device runs only as many blocks as fit. With half of group
// A's kernel on device 0 and half of B's on device 1, the rest of each waits for room that the other
// holds, for ever. An algorithm knows its own kernels alone (`open` checks that those of one group
// fit beside each other), so two groups may not be resident at once.
//
// Design. A place is a physical device: virtual ones share its room. It remembers who enqueued such
// work last, a group or a graph, and on which streams. Whoever comes next, and is somebody else,
// makes its streams wait for those. Turns are taken under launch_order(), so all places see the same
// order, and each group's kernels are followed by the next only when all of them on that device are
// over. The same group goes on without an edge: its streams are FIFOs.
//  - Copies and sums of other groups keep running beside such kernels: they end by themselves, and
//    the kernels leave room (a block takes a part of a multiprocessor, or few multiprocessors are taken).
//  - Inside a capture, turns order the captured calls alone; the graph takes one as a whole when it
//    is launched.
//  - What breaks it: kernels of other programs, or of operators, that wait for each other.
#pragma once

#include <cstdint>
#include <span>

#include "fabric/device.h"

namespace fabric::kernel_turns {

/// Work of `device` that is to be enqueued on `stream`, of any device of the same driver.
struct Part {
  Device* device;
  Stream* stream;
};

/// A graph's name among owners; a group's is its id.
inline uint64_t graph_owner(uint32_t graph) { return uint64_t{1} << 32 | graph; }

/// Orders `parts` behind the work of the owner before. Under launch_order(). `capture`: that of the
/// parts' devices, 0 outside one. Throws UsageError when the work before is on a stream that a
/// capture has begun on, which nothing outside can wait for.
void take(uint64_t owner, uint64_t capture, std::span<const Part> parts);

}  // namespace fabric::kernel_turns
