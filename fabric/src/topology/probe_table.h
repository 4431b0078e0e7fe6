// Results of pair tests in this process: probe.cc fills it, topology.cc and peer_access.cc read it.
//
// Design. peer access is asked on every copy, so whether a pair is refused lies in a plain array of
// atomics; the whole results lie in a map under a mutex. A pair is refused for good, until it is
// tested again or forget_probes(): what was enqueued meanwhile keeps the path it took.
#pragma once

#include <optional>

#include "fabric/driver.h"
#include "fabric/peer_probe.h"

namespace fabric::probe_table {

void set(const Driver& driver, int from, int to, const PairProbe& result);
std::optional<PairProbe> find(const Driver& driver, int from, int to);
/// As set(), unless there is a result. False: there is.
bool add(const Driver& driver, int from, int to, const PairProbe& result);
/// A test found that `from` must not use its access to `to`.
bool refused(const Driver& driver, int from, int to);
void clear();

}  // namespace fabric::probe_table
