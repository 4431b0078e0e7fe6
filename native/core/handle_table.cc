// The handle table: slots in chunks that never move, a free list under one mutex, a spin bit a
// slot.
//
// Design. Each thread keeps a few free slots of its own; insert() and release() use those and take
// the free list's mutex only to fetch or return several at once. get() takes no mutex. A slot's
// state word is generation << 1 | locked. get() sets the lock bit if the generation
// matches, copies the tensor reference, and clears the bit; release() sets the bit too, bumps the
// generation and moves the reference out before clearing, so the tensor dies outside the lock.
// Chunk pointers are published with release order and never change.
#include "core/handle_table.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "core/tally.h"

namespace weft::handles {
namespace {

constexpr uint64_t kSlots = uint64_t{1} << kSlotBits;
constexpr uint64_t kChunk = 4096;
constexpr uint32_t kGenerationMask = (1u << 29) - 1;  // handle stays below 2^53

struct Slot {
  std::atomic<uint32_t> state{1u << 1};  // generation << 1 | locked; generation 0 is never used
  uint32_t owner = 0;                    // guarded by the lock bit
  Tensor tensor;                         // guarded by the lock bit
};

struct Table {
  std::atomic<Slot*> chunks[kSlots / kChunk] = {};
  std::mutex mutex;  // guards free_slots and used
  std::vector<uint32_t> free_slots;
  uint64_t used = 0;  // slots ever taken from the chunks
};

Table& table() {
  static auto* t = new Table();
  return *t;
}

/// Free slots of one thread, the latest released first. Trivial, so that tensors may be released
/// while the thread ends: from then on `closed` sends them to the table.
struct ThreadSlots {
  static constexpr uint32_t kMost = 128;
  uint32_t slots[kMost];
  uint32_t count = 0;
  bool opened = false, closed = false;
};
constinit thread_local ThreadSlots t_slots{};

/// Gives the `count` latest of this thread's slots to all.
void return_slots(uint32_t count) {
  Table& t = table();
  std::lock_guard<std::mutex> guard(t.mutex);
  for (; count > 0; --count) t.free_slots.push_back(t_slots.slots[--t_slots.count]);
}

struct SlotsAtExit {
  ~SlotsAtExit() {
    return_slots(t_slots.count);
    t_slots.closed = true;
  }
};

void open_slots() {
  thread_local SlotsAtExit at_exit;
  t_slots.opened = true;
}

Slot* find(uint64_t index) {
  Slot* chunk = table().chunks[index / kChunk].load(std::memory_order_acquire);
  return chunk ? chunk + index % kChunk : nullptr;
}

/// Locks the slot if it still has `generation`.
bool lock(Slot& slot, uint32_t generation) {
  uint32_t open = generation << 1;
  for (;;) {
    uint32_t seen = open;
    if (slot.state.compare_exchange_weak(seen, open | 1, std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
      return true;
    }
    if (seen >> 1 != generation) return false;
  }
}
void unlock(Slot& slot, uint32_t generation) {
  slot.state.store(generation << 1, std::memory_order_release);
}

uint32_t next_generation(uint32_t generation) {
  uint32_t next = (generation + 1) & kGenerationMask;
  return next ? next : 1;
}

/// Empties a locked slot and puts it on the free list.
void vacate(Slot& slot, uint64_t index, uint32_t generation) {
  Tensor dying = std::move(slot.tensor);
  slot.tensor = Tensor();
  slot.owner = 0;
  unlock(slot, next_generation(generation));
  tally::add(tally::kHandles, -1);
  ThreadSlots& own = t_slots;
  if (!own.opened) [[unlikely]]
    open_slots();
  if (own.count == ThreadSlots::kMost) [[unlikely]]
    return_slots(ThreadSlots::kMost / 2);
  own.slots[own.count++] = static_cast<uint32_t>(index);
  if (own.closed) [[unlikely]]
    return_slots(1);
}

/// A slot of the table; fetches more for this thread with it where others left some.
uint64_t take_slot() {
  ThreadSlots& own = t_slots;
  if (own.count > 0) [[likely]]
    return own.slots[--own.count];
  Table& t = table();
  std::lock_guard<std::mutex> guard(t.mutex);
  if (t.free_slots.empty()) {
    if (t.used == kSlots) {
      fail(ErrorCode::kUsage, "more than %llu tensors are alive: dispose some, or use scope()",
           static_cast<unsigned long long>(kSlots));
    }
    const uint64_t index = t.used++;
    if (index % kChunk == 0) {
      t.chunks[index / kChunk].store(new Slot[kChunk], std::memory_order_release);
    }
    return index;
  }
  if (own.opened && !own.closed) {
    while (own.count < ThreadSlots::kMost / 2 && t.free_slots.size() > 1) {
      own.slots[own.count++] = t.free_slots.back();
      t.free_slots.pop_back();
    }
  }
  const uint64_t index = t.free_slots.back();
  t.free_slots.pop_back();
  return index;
}

}  // namespace

Handle insert(Tensor tensor, uint32_t owner) {
  const uint64_t index = take_slot();
  Slot& slot = *find(index);
  uint32_t generation = slot.state.load(std::memory_order_relaxed) >> 1;
  lock(slot, generation);
  slot.tensor = std::move(tensor);
  slot.owner = owner;
  unlock(slot, generation);
  tally::add(tally::kHandles, 1);
  return (static_cast<uint64_t>(generation) << kSlotBits) | index;
}

Tensor get(Handle handle) {
  Slot* slot = find(handle & (kSlots - 1));
  auto generation = static_cast<uint32_t>(handle >> kSlotBits);
  if (slot && generation != 0 && lock(*slot, generation)) {
    Tensor tensor = slot->tensor;
    unlock(*slot, generation);
    if (tensor) return tensor;
  }
  fail(ErrorCode::kDisposed,
       "this tensor was disposed (by dispose(), `using`, or the end of its scope()) and cannot be "
       "used");
}

bool alive(Handle handle) {
  Slot* slot = find(handle & (kSlots - 1));
  auto generation = static_cast<uint32_t>(handle >> kSlotBits);
  if (!slot || generation == 0 || !lock(*slot, generation)) return false;
  bool defined = slot->tensor.defined();
  unlock(*slot, generation);
  return defined;
}

bool release(Handle handle) {
  uint64_t index = handle & (kSlots - 1);
  Slot* slot = find(index);
  auto generation = static_cast<uint32_t>(handle >> kSlotBits);
  if (!slot || generation == 0 || !lock(*slot, generation)) return false;
  if (!slot->tensor) {  // a vacant slot whose next generation was guessed
    unlock(*slot, generation);
    return false;
  }
  vacate(*slot, index, generation);
  return true;
}

size_t release_owner(uint32_t owner) {
  Table& t = table();
  uint64_t used;
  {
    std::lock_guard<std::mutex> guard(t.mutex);
    used = t.used;
  }
  size_t released = 0;
  for (uint64_t index = 0; index < used; ++index) {
    Slot& slot = *find(index);
    uint32_t generation = slot.state.load(std::memory_order_relaxed) >> 1;
    if (!lock(slot, generation)) continue;
    if (slot.tensor && slot.owner == owner) {
      vacate(slot, index, generation);
      ++released;
    } else {
      unlock(slot, generation);
    }
  }
  return released;
}

size_t live() { return static_cast<size_t>(std::max<int64_t>(0, tally::total(tally::kHandles))); }

}  // namespace weft::handles
