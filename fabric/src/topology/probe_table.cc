// See topology/probe_table.h.
#include "topology/probe_table.h"

#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include "fabric/fabric.h"
#include "fabric/known_pairs.h"

namespace fabric {
namespace probe_table {
namespace {

constexpr int kDrivers = 2, kMost = 64;  // GPUs of a machine, host devices

struct Table {
  std::atomic<bool> refused[kDrivers][kMost][kMost] = {};
  std::mutex mutex;  // guards results
  std::map<std::tuple<int, int, int>, PairProbe> results;
};

Table& table() {
  static auto* instance = new Table;  // driver threads may outlive static destruction
  return *instance;
}

std::atomic<bool>* flag(const Driver& driver, int from, int to) {
  if (from < 0 || to < 0 || from >= kMost || to >= kMost) return nullptr;
  return &table().refused[static_cast<int>(driver.kind())][from][to];
}

// Caller holds the table's mutex.
void put(Table& t, const Driver& driver, int from, int to, const PairProbe& result) {
  t.results[{static_cast<int>(driver.kind()), from, to}] = result;
  if (auto* refused = flag(driver, from, to)) {
    refused->store(!result.usable(), std::memory_order_release);
  }
}

}  // namespace

void set(const Driver& driver, int from, int to, const PairProbe& result) {
  auto& t = table();
  std::lock_guard lock(t.mutex);
  put(t, driver, from, to, result);
}

bool add(const Driver& driver, int from, int to, const PairProbe& result) {
  auto& t = table();
  std::lock_guard lock(t.mutex);
  if (t.results.contains({static_cast<int>(driver.kind()), from, to})) return false;
  put(t, driver, from, to, result);
  return true;
}

std::optional<PairProbe> find(const Driver& driver, int from, int to) {
  auto& t = table();
  std::lock_guard lock(t.mutex);
  const auto found = t.results.find({static_cast<int>(driver.kind()), from, to});
  if (found == t.results.end()) return std::nullopt;
  return found->second;
}

bool refused(const Driver& driver, int from, int to) {
  if (const auto* refused = flag(driver, from, to)) return refused->load(std::memory_order_acquire);
  const auto found = find(driver, from, to);
  return found && !found->usable();
}

void clear() {
  auto& t = table();
  std::lock_guard lock(t.mutex);
  t.results.clear();
  for (auto& driver : t.refused) {
    for (auto& row : driver) {
      for (auto& cell : row) cell.store(false, std::memory_order_release);
    }
  }
}

}  // namespace probe_table

namespace {
constexpr const char* kNames[] = {"untested", "works", "wrong", "hangs", "refused"};
}

const char* probe_state_name(ProbeState state) { return kNames[static_cast<size_t>(state)]; }

ProbeState probe_state(const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<ProbeState>(i);
  }
  fail(ErrorCode::kUsage, "'%s' is no state of a test of a pair", name.c_str());
}

bool remember_pair(Device& from, Device& to, const PairProbe& result) {
  if (&from.driver() != &to.driver() || from.ordinal() == to.ordinal()) return false;
  return probe_table::add(from.driver(), from.ordinal(), to.ordinal(), result);
}

void forget_probes() { probe_table::clear(); }

}  // namespace fabric
