// From a full slot to enqueued work; group.cc calls it in the order of the calls, group/launch.cc
// holds the design.
#pragma once

#include <memory>
#include <optional>

#include "group/slot.h"

namespace fabric {

/// Launches `slot`, whose last rank has arrived: on all ranks, or the error that all of them get.
std::optional<Error> launch_call(Slot& slot);

/// Tells the ranks how launch_call() ended; under no lock, since callbacks run.
void settle_call(const std::shared_ptr<Slot>& slot, const std::optional<Error>& error);

/// Bytes of a rank's `count` elements; 0 for a barrier.
uint64_t payload_bytes(const CollectiveArgs& args);

/// EventRecord::detail of collective events: the kind in the low 8 bits, the group's id above.
uint32_t event_detail(const CollectiveArgs& args, uint32_t group);

}  // namespace fabric
