// How a call runs: the wire format, CTAs and threads for a size. Pure; plugin.cc asks. From figures on
// two H100: words to 64 KiB, lines to 16 MiB at two ranks, chunks above; a ring of 16 CTAs.
#pragma once

#include "kernels/launch.h"

namespace ringallreduce {

/// What an algorithm's workspace must hold for `ranks`.
Capacity oneshot_capacity(uint32_t ranks);
Capacity twoshot_capacity(uint32_t ranks, uint32_t multiprocessors);
Capacity ring_capacity(uint32_t ranks, uint32_t multiprocessors);

/// Largest payload that each can do with that workspace.
uint64_t oneshot_limit(uint32_t ranks);

/// Fills format, capacity, ctas, threads, chunk_bytes and window; `multiprocessors` is what
/// one rank may fill.
void shape_oneshot(Args& args, uint64_t bytes, uint32_t multiprocessors);
void shape_twoshot(Args& args, uint64_t bytes, uint32_t multiprocessors);
void shape_ring(Args& args, uint64_t bytes, uint32_t multiprocessors);

}  // namespace ringallreduce
