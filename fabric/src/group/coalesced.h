// Coalesced calls: several collectives that meet, are checked and launch as one call of the group.
// group/launch.cc launches them; submit() of group.cc counts their bytes.
//
// Design. Each rank brings the list of its parts (CollectiveArgs::calls). Once all are there the lists
// become one call after the other, each with the parts of all ranks, as if it had been made alone. All
// are compared and prepared before the first is enqueued, so all run or none; then they are enqueued in
// order, between one start and one done event a rank. Scratch of all is held together until then.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "group/desync.h"

namespace fabric {

/// Bytes of all calls of one rank's part.
uint64_t coalesced_bytes(const CollectiveArgs& args);

/// Takes the calls out of `args`, which all have as many: [call][rank].
std::vector<std::vector<CollectiveArgs>> by_call(std::span<CollectiveArgs> args);

/// The first of `calls` that differs over ranks, or has a wrong argument.
std::optional<Disagreement> find_disagreement_in(std::span<const std::vector<CollectiveArgs>> calls,
                                                 CallSite site);
std::optional<Error> find_bad_argument_in(std::span<const std::vector<CollectiveArgs>> calls,
                                          CallSite site);

}  // namespace fabric
