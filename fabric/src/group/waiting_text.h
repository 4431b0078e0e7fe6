// What a timeout adds to its sentence: since when ranks wait, where those stand that they wait for,
// and what already differs in what the others brought. Pure text; group/slot.cc and slot_flight.cc
// put it into their errors.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "group/slot.h"

namespace fabric {

/// "since 03:12:05.123 UTC": the wall clock at `ns` of the steady clock.
std::string since_text(uint64_t ns);

/// "; rank 1 (host:1) is before the call: it made 2 calls, the last broadcast 80 ms ago", for each
/// of `missing`; then what the ranks that came differ in, if they do. `brought` is by rank.
std::string standing_text(const GroupState& group, CallSite site, const std::vector<int>& missing,
                          std::span<const CallRank> brought);

}  // namespace fabric
