// From a full slot to enqueued work; group.cc calls it, group/launch.cc holds the design.
#pragma once

#include "group/slot.h"

namespace fabric {

/// Launches `slot` (whose last rank just arrived) and settles it: launched, or failed for all
/// ranks.
void launch_call(Slot& slot);

/// Bytes of a rank's `count` elements; 0 for a barrier.
uint64_t payload_bytes(const CollectiveArgs& args);

/// EventRecord::detail of collective events: the kind in the low 8 bits, the group's id above.
uint32_t event_detail(const CollectiveArgs& args, uint32_t group);

}  // namespace fabric
