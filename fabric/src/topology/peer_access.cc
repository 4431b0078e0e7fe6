// Which pairs of devices were enabled; see topology/peer_access.h.
#include "topology/peer_access.h"

#include <atomic>

#include "topology/probe_table.h"

namespace fabric {
namespace {

constexpr int kTable = 256;

// Pairs whose access was enabled and logged; devices beyond the table ask the driver every time.
std::atomic<bool> g_enabled[kTable][kTable];

}  // namespace

bool enable_peer(Device& a, Device& b) {
  if (&a == &b) return true;
  if (&a.driver() != &b.driver()) return false;
  Driver& driver = a.driver();
  // The driver is asked each time: access can be lost, and then copies must go through staging.
  const bool same = a.ordinal() == b.ordinal();
  if (!same && !driver.can_access_peer(a.ordinal(), b.ordinal())) return false;
  if (!same && probe_table::refused(driver, a.ordinal(), b.ordinal())) return false;
  const bool in_table = a.index() < kTable && b.index() < kTable;
  if (in_table && g_enabled[a.index()][b.index()].load(std::memory_order_acquire)) return true;
  if (!same) {
    try {
      driver.enable_peer(a.ordinal(), b.ordinal());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kPeerAccess) throw;
      return false;
    }
  }
  if (!in_table || !g_enabled[a.index()][b.index()].exchange(true)) {
    event_log::log(EventKind::kPeerEnable, a.index(), 0, b.index(), 0, 0);
  }
  return true;
}

bool reaches(Device& a, Device& b) { return enable_peer(a, b); }

}  // namespace fabric
