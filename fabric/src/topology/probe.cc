// probe_peers(): which pairs are tested, and what follows from it. The test of a pair is in
// pair_probe.cc, results are kept in probe_table.cc.
#include <algorithm>
#include <mutex>

#include "fabric/fabric.h"
#include "fabric/graph.h"
#include "fabric/peer_probe.h"
#include "topology/pair_probe.h"
#include "topology/probe_table.h"

namespace fabric {
namespace {

PairProbe refused(std::string why) {
  PairProbe result;
  result.copy.state = result.kernel.state = ProbeState::kRefused;
  result.reason = std::move(why);
  return result;
}

/// Empty when the driver gives access, else why not.
std::string open_pair(Driver& driver, int from, int to) {
  if (!driver.can_access_peer(from, to)) return "the driver gives no access";
  try {
    driver.enable_peer(from, to);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kPeerAccess) throw;
    return error.what();
  }
  return {};
}

PairProbe test_pair(Driver& driver, int from, int to, int64_t limit_ms) {
  if (std::string why = open_pair(driver, from, to); !why.empty()) return refused(std::move(why));
  const auto back = probe_table::find(driver, to, from);
  const bool both = open_pair(driver, to, from).empty() && (!back || back->usable());
  return probe_pair(driver, from, to, both, limit_ms);
}

}  // namespace

ProbeReport probe_peers(const std::vector<Device*>& devices, const ProbeOptions& options) {
  if (options.limit_ms < 1 || options.limit_ms > 600'000) {
    fail(ErrorCode::kUsage, "a test of a pair may take 1 to 600000 ms, not %lld",
         static_cast<long long>(options.limit_ms));
  }
  static auto* one_at_a_time = new std::mutex;  // tests that share links would measure each other
  std::lock_guard lock(*one_at_a_time);
  std::vector<std::pair<Driver*, int>> chips;
  for (Device* device : devices) {
    require_eager(*device, "testing links between devices");
    const std::pair chip(&device->driver(), device->ordinal());
    if (std::find(chips.begin(), chips.end(), chip) == chips.end()) chips.push_back(chip);
  }
  ProbeReport report;
  for (const auto& [driver, from] : chips) {
    for (const auto& [other, to] : chips) {
      if (driver != other || from == to) continue;
      if (!options.again && probe_table::find(*driver, from, to)) continue;
      probe_table::set(*driver, from, to, test_pair(*driver, from, to, options.limit_ms));
      ++report.measured;
    }
  }
  return report;
}

}  // namespace fabric
