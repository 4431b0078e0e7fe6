// What a test of a pair of devices finds, and the call that tests pairs. topology() shows results of
// earlier tests, peer access and rings follow them; `weft devices --probe` and Fabric.probe() ask.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fabric {

class Device;

enum class ProbeState : uint8_t {
  kUntested = 0,  ///< not tried: the other path failed first, or there was no memory
  kWorks = 1,
  kWrong = 2,    ///< a pattern came back wrong
  kHangs = 3,    ///< not done at the deadline
  kRefused = 4,  ///< the driver gives no access
};
const char* probe_state_name(ProbeState state);  ///< "untested", "works", "wrong", ...

/// One way of moving bytes over a pair: the copy engine, or a kernel's loads and stores.
struct PathProbe {
  ProbeState state = ProbeState::kUntested;
  double gbps = 0;        ///< 10^9 bytes a second, one way
  double both_gbps = 0;   ///< both ways at the same time, summed; 0: not measured
  double latency_us = 0;  ///< of one 64-byte copy, many in a row on one stream
};

/// A pair in one direction: what `from` finds when it writes to `to`'s memory and reads it back.
struct PairProbe {
  PathProbe copy;
  PathProbe kernel;
  std::string reason{};  ///< why the pair is not used; empty when it is
  bool usable() const { return reason.empty(); }
};

struct ProbeOptions {
  bool again = false;       ///< also pairs that this process has tested before
  int64_t limit_ms = 2000;  ///< for each of three waits on each path of each pair
};

struct ProbeReport {
  int measured = 0;  ///< pairs that were tested now
};

/// Tests each ordered pair of different devices that one driver holds (virtual devices of one device
/// need no test), one after the other. A pair that fails is not used from now on: peer access
/// answers no, copies stage through the host. Blocks the caller, bounded by limit_ms.
ProbeReport probe_peers(const std::vector<Device*>& devices, const ProbeOptions& options = {});
/// Drops all results of this process, so that pairs that failed are used again.
void forget_probes();

}  // namespace fabric
