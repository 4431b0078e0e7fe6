// The process-wide table id -> tensor that JavaScript holds integers into.
//
// A handle is generation * 2^24 + slot, a safe integer in JavaScript; 0 is never a handle. A slot's
// generation grows when the handle is released, so a stale handle is found and becomes
// DisposedError. Any thread may use any handle. Look-up takes one uncontended spin bit in the slot
// and copies a counted reference under it: a release from another thread can come before or after,
// never between.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"

namespace weft::handles {

using Handle = uint64_t;
inline constexpr uint64_t kSlotBits = 24;

/// Puts `tensor` in the table; the table holds one reference until release(). `owner` is the
/// JavaScript environment that made it (0: the process).
Handle insert(Tensor tensor, uint32_t owner = 0);
/// Throws Error(kDisposed) for a stale or unknown handle.
Tensor get(Handle handle);
bool alive(Handle handle);
/// Drops the table's reference. False when it was gone already (dispose is idempotent).
bool release(Handle handle);
/// Releases every handle that `owner` inserted and did not release: its environment has ended.
size_t release_owner(uint32_t owner);
size_t live();

}  // namespace weft::handles
