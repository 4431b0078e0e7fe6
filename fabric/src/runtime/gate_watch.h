// The bound on gates: a gate between two drivers that nobody opens in time is opened here, after
// the fabric was poisoned. order_after() puts every gate it makes under this watch.
//
// Design. A stream that a gate holds cannot be told to give up (a GPU waits for a word in memory),
// so the side that owns the gate ends the wait: the watchdog's thread looks at the earliest
// deadline, poisons the fabric with what was waited for, and opens the gate. The held work then
// runs on bytes that never came, and whoever would see them gets FabricPoisonedError instead. A
// gate that was opened in time is forgotten with its last owner.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "fabric/device.h"
#include "fabric/gate.h"

namespace fabric {

/// Far above any real wait: work of one driver that takes this long has hung.
inline constexpr std::chrono::milliseconds kGateLimit = std::chrono::minutes(10);

/// A watched gate that opens when `earlier` has done its work so far; `later` is who will wait.
std::shared_ptr<Gate> gate_behind(Stream& earlier, Stream& later);

/// Opens `gate` and poisons the fabric with "<what> ..." when it is still shut after `limit`.
void watch_gate(const std::shared_ptr<Gate>& gate, std::string what,
                std::chrono::milliseconds limit = kGateLimit);

}  // namespace fabric
