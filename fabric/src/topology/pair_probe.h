// The test of one ordered pair of devices, over the Driver interface, so that GPUs and host devices
// run the same one. probe.cc calls it for each pair.
//
// Design. A stream of `from` writes a pattern into `to`'s memory and reads it back, by copy engine
// and then by kernel; `to` also looks itself at what arrived; then copies are timed. All is enqueued, followed by one event that is waited
// for until the deadline. Only the pair under test is crossed by `from`'s stream, so a verdict is
// about this direction; both ways at once needs the other direction too and runs last.
//  - A pair that hangs keeps its buffers, streams and events for good: whatever gives memory of a
//    busy device back would wait for it.
#pragma once

#include "fabric/driver.h"
#include "fabric/peer_probe.h"

namespace fabric {

/// `both`: `to` may also write to `from`, so that both ways are measured.
PairProbe probe_pair(Driver& driver, int from, int to, bool both, int64_t limit_ms);

}  // namespace fabric
