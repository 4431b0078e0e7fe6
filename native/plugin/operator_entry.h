// An operator that a plugin brought: its row of the operator table and its hold on the plugin's library.
// registrar.cc makes and withdraws entries, operator_run.cc visits them.
//
// Design. An Entry stays for ever (see op_rows.h), its hold on the library does not. `visits` counts the
// calls that are inside; withdraw() sets kGone in it, from where on none enters. Whoever leaves it at kGone
// with no visit (the last visit, or withdraw() itself), having seen all that others did before they left
// (acquire and release on `visits`), lets the library go. So unloading never waits, a call that is under
// way, in whatever thread, ends first, and calls that come one after the other cannot keep the library.
// Gradient nodes and functions on host streams hold shares of the library, taken inside a visit. Kernels
// on a GPU cannot tell when they end: the first call there keeps the library for the life of the process.
// What breaks it: reading `library` outside a visit; entering by an unconditional increment.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>

#include "dispatch/op_rows.h"
#include "fabric/plugin_abi.h"

namespace weft::plugin {

struct Entry {
  RowData row;
  int id = -1;
  std::string name, schema, who;
  WeftOperator op = {};
  std::shared_ptr<void> library;
  std::atomic<uint32_t> visits{0};
  std::once_flag pinned;
};
static_assert(offsetof(Entry, row) == 0);

inline Entry& entry_of(Op op) { return *reinterpret_cast<Entry*>(&row_data(op)); }

inline constexpr uint32_t kGone = 1u << 31;

/// Takes the operator away from new calls.
inline void withdraw(Entry& entry) {
  if (entry.visits.fetch_or(kGone, std::memory_order_acq_rel) == 0) entry.library.reset();
}

/// While it lives, the library stays. Throws PluginError when the plugin was unloaded.
class Visit {
 public:
  explicit Visit(Entry& entry) : entry_(entry) {
    uint32_t visits = entry.visits.load(std::memory_order_relaxed);
    do {
      if (visits >= kGone) fail(ErrorCode::kPlugin, "%s was unloaded", entry.who.c_str());
    } while (!entry.visits.compare_exchange_weak(visits, visits + 1, std::memory_order_acquire,
                                                 std::memory_order_relaxed));
  }
  ~Visit() {
    if (entry_.visits.fetch_sub(1, std::memory_order_acq_rel) == kGone + 1) entry_.library.reset();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  const std::shared_ptr<void>& library() const { return entry_.library; }

 private:
  Entry& entry_;
};

/// The functions of a plugin's row (operator_run.cc).
void run_forward(OpCall& call);
void run_gradient(GradCall& call);

}  // namespace weft::plugin
