// Counts of what is alive, made by every tensor's birth and death: each thread counts on a page of
// its own with plain moves, a total is the sum over all pages. Written by Storage, TensorImpl and
// the handle table; memory figures and snapshots read.
//
// A thread writes its page alone. Pages never die: one of an ended thread keeps its numbers and
// serves the next thread. A page's number may be negative (made here, freed there); only sums mean
// something.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::tally {

inline constexpr int kDevices = 256;
/// What is counted: for each device live tensors and bytes of live storages, and live handles.
inline constexpr int kHandles = 2 * kDevices, kCells = kHandles + 1;
constexpr int tensors_of(unsigned device) { return static_cast<int>(2 * (device % kDevices)); }
constexpr int bytes_of(unsigned device) { return tensors_of(device) + 1; }

using Cell = std::atomic<int64_t>;
extern constinit thread_local Cell* t_page;  // kCells of them; nullptr before the first count

/// The first count of this thread, or one after its end.
void add_slow(int cell, int64_t delta);

inline void add(int cell, int64_t delta) {
  Cell* page = t_page;
  if (page == nullptr) [[unlikely]]
    return add_slow(cell, delta);
  page[cell].store(page[cell].load(std::memory_order_relaxed) + delta, std::memory_order_relaxed);
}

int64_t total(int cell);

}  // namespace weft::tally
