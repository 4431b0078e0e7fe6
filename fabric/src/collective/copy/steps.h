// The steps on one device that the copy algorithms are made of, each with its record in the event
// log: a copy within the device and a combination of two buffers. collective/copy/ calls them.
#pragma once

#include "fabric/algorithm.h"
#include "transfer/copy_lane.h"

namespace fabric {

inline CopyLabel label_of(const CollectiveCall& call) { return {call.sequence, call.detail}; }

/// out = in on `stream`; nothing when they are the same or empty.
void copy_within(const CollectiveCall& call, void* out, const void* in, size_t bytes,
                 Stream& stream);

/// dst = op(a, b) * scale over `count` elements on `stream`, with the call's dtype and op. Logged as
/// `collective_combine`.
void combine(const CollectiveCall& call, void* dst, const void* a, const void* b, uint64_t count,
             double scale, Stream& stream);

/// Logs a combination of `count` elements for `stream`.
void log_combine(const CollectiveCall& call, uint64_t count, const Stream& stream);

}  // namespace fabric
