// What earlier processes found out about pairs of devices (peer_probe.h), taken as found now: the front
// keeps results in a file, src/fabric/probe-cache.ts.
#pragma once

#include <string>
#include <vector>

#include "fabric/peer_probe.h"

namespace fabric {

/// Takes `result` for the pair unless this process has one. False: it has, or the two are not
/// different devices of one driver.
bool remember_pair(Device& from, Device& to, const PairProbe& result);
/// The state called `name`; throws UsageError.
ProbeState probe_state(const std::string& name);

}  // namespace fabric
