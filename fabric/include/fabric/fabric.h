// The fabric itself: the process-wide table of devices, drivers and topology. Everything above asks
// it for devices; it only grows, so a Device reference stays good for the life of the process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fabric/allocator.h"
#include "fabric/device.h"
#include "fabric/error.h"
#include "fabric/event_log.h"
#include "fabric/peer_probe.h"

namespace fabric {

struct Link {
  uint16_t from = 0;
  uint16_t to = 0;
  std::string kind{};        ///< "self", "memory" (host devices), "nvlink", "pcie", "staged"
  bool peer_access = false;  ///< `from` may read and write `to`'s memory directly
  double gbps = 0;           ///< measured, 0 when not
  int lanes = 0;             ///< NVLinks or PCIe lanes side by side, 0 when not told
  double nominal_gbps = 0;   ///< what they promise in one direction, 0 when not told
  std::string through{};     ///< "NVSwitch", "host bridge", ...; empty when direct or not told
  bool native_atomics = false;
  int performance_rank = -1;         ///< CUDA's: 0 is the best kind of link; -1 when not told
  std::optional<PairProbe> probe{};  ///< what the last test of the pair found
};

/// Registers a driver under its name(); at most one of each kind. fabric/src/host does it at load.
void register_driver(std::unique_ptr<Driver> driver);
Driver* find_driver(DriverKind kind);  ///< nullptr when it is not in this build or finds no device

/// Opens (or finds) the device called `name`: "host:3", "cuda:0", "cuda:0/2" (with virtual_count).
/// Throws Error(kDevice) naming what exists. Thread safe.
Device& open_device(const std::string& name, int virtual_count = 0);
/// The device at `index` of the table; throws Error(kDevice) when there is none.
Device& device_at(uint16_t index);
/// nullptr when no such device is open.
Device* find_device(const std::string& name);
std::vector<Device*> devices();

/// Makes `b`'s memory reachable from `a` where the hardware allows; logs a peer_enable event once.
/// False when it does not: transfers then stage through the host.
bool enable_peer(Device& a, Device& b);
/// Links between the given devices, in both directions, with self links left out.
std::vector<Link> topology(const std::vector<Device*>& devices);
/// A ring through all devices that prefers fast peer links: a permutation of 0..n-1, starting at 0.
std::vector<int> ring_order(const std::vector<Device*>& devices);
/// Positions in `devices`, divided in sets whose members all reach each other by peer links at
/// least 40 % as fast as the fastest one; the largest first.
std::vector<std::vector<int>> peer_cliques(const std::vector<Device*>& devices);

/// Copies between devices: waits (on the device) for `src_stream`'s work so far, runs on the copy
/// stream of the source, and `dst_stream` waits for it. Never blocks the host. Without peer access
/// it goes through staging memory. `src` and `dst` must stay allocated until then: callers
/// record_use their blocks on the returned stream, the one that did the work.
Stream& transfer(void* dst, Stream& dst_stream, const void* src, Stream& src_stream, size_t bytes);

/// True once a sticky device error was seen; every later call then throws Error(kPoisoned).
bool poisoned();
void poison(const std::string& reason);
void check_poison();

/// Waits for all streams of all devices (bounded) and stops driver threads. Used at process end and
/// by tests; the fabric cannot be used afterwards.
void shutdown();

}  // namespace fabric
