// Tests of pairs on real GPUs, without Node: every pair works on both paths in both directions, and
// is not tested twice. build_check.sh builds it; needs two GPUs or more that reach each other.
//   topology_check [first GPU = cuda:0] [second GPU = cuda:1]
#include <cstdio>
#include <string>

#include "fabric/fabric.h"
#include "fabric/numa.h"

namespace {

int failures = 0;
void check(const std::string& what, bool good) {
  std::printf("%-66s %s\n", what.c_str(), good ? "ok" : "FAIL");
  std::fflush(stdout);
  failures += good ? 0 : 1;
}

void check_path(const std::string& pair, const char* name, const fabric::PathProbe& path) {
  std::printf("%s by %s: %s, %.1f GB/s, %.1f both ways, %.2f us\n", pair.c_str(), name,
              fabric::probe_state_name(path.state), path.gbps, path.both_gbps, path.latency_us);
  check(pair + " works by " + name, path.state == fabric::ProbeState::kWorks);
  check(pair + " was measured by " + name,
        path.gbps > 0 && path.both_gbps > 0 && path.latency_us > 0);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace fabric;
  try {
    Device& a = open_device(argc > 1 ? argv[1] : "cuda:0");
    Device& b = open_device(argc > 2 ? argv[2] : "cuda:1");
    for (Device* device : {&a, &b}) {
      const DeviceProperties& p = device->properties();
      std::printf("%s: PCI %s, %s, NUMA node %d\n", device->name().c_str(), p.pci.c_str(),
                  p.uuid.c_str(), numa_node(p.pci));
      check(device->name() + " tells where it sits", !p.pci.empty() && !p.uuid.empty());
    }
    check("two ordered pairs are tested", probe_peers({&a, &b}).measured == 2);
    check("no pair is tested a second time", probe_peers({&a, &b}).measured == 0);
    for (const Link& link : topology({&a, &b})) {
      const std::string pair = device_at(link.from).name() + " to " + device_at(link.to).name();
      std::printf("%s: %s x%d, native atomics %s, performance rank %d\n", pair.c_str(),
                  link.kind.c_str(), link.lanes, link.native_atomics ? "yes" : "no",
                  link.performance_rank);
      check(pair + " has a result", link.probe.has_value());
      if (!link.probe) continue;
      check(pair + " is used: " + link.probe->reason, link.probe->usable());
      check_path(pair, "copy engine", link.probe->copy);
      check_path(pair, "loads and stores", link.probe->kernel);
    }
    check("both are one clique", peer_cliques({&a, &b}).size() == 1);
    shutdown();
  } catch (const Error& error) {
    check(std::string("an error: ") + error.what(), false);
  }
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
