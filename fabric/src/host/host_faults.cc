// Injected faults of the host driver: set by tests through fabric/faults.h, read by the driver and
// the stream workers. Plain atomics: a worker sees a change at its next task.
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "fabric/error.h"
#include "fabric/faults.h"
#include "host/fault_state.h"

namespace fabric {
namespace host {
namespace {

// The next `count` calls fail, after `skip` that succeed.
struct Countdown {
  int skip = 0;
  int count = 0;
};

struct FaultState {
  std::array<std::atomic<int64_t>, kMaxHostDevices> delay_us{};
  std::array<std::array<std::atomic<bool>, kMaxHostDevices>, kMaxHostDevices> blocked{};
  std::array<std::array<std::atomic<uint8_t>, kMaxHostDevices>, kMaxHostDevices> pairs{};
  std::condition_variable pairs_changed;  // under mutex
  std::mutex mutex;
  std::array<Countdown, kMaxHostDevices> allocations{};
  Countdown staging;
  std::array<Countdown, kMaxHostDevices> copies{};
  std::atomic<bool> copies_fail{false};  // copies take the mutex only then
};

FaultState& state() {
  static auto* instance = new FaultState;  // workers may outlive static destruction
  return *instance;
}

void check_ordinal(int ordinal) {
  if (ordinal < 0 || ordinal >= kMaxHostDevices) {
    fail(ErrorCode::kDevice, "there is no host device %d; there are host:0 to host:%d", ordinal,
         kMaxHostDevices - 1);
  }
}

// Under the faults' mutex.
bool take(Countdown& fault) {
  if (fault.count == 0) return false;
  if (fault.skip > 0) {
    --fault.skip;
    return false;
  }
  --fault.count;
  return true;
}

}  // namespace

int64_t device_delay_us(int ordinal) {
  return state().delay_us[static_cast<size_t>(ordinal)].load(std::memory_order_relaxed);
}

bool peer_allowed(int a, int b) {
  return !state().blocked[static_cast<size_t>(a)][static_cast<size_t>(b)].load(
      std::memory_order_relaxed);
}

faults::PairFault pair_fault(int from, int to) {
  return static_cast<faults::PairFault>(
      state().pairs[static_cast<size_t>(from)][static_cast<size_t>(to)].load(
          std::memory_order_relaxed));
}

void wait_while_pair_hangs(int from, int to) {
  auto& faults = state();
  std::unique_lock lock(faults.mutex);
  faults.pairs_changed.wait_for(lock, std::chrono::seconds(30),
                                [&] { return pair_fault(from, to) != faults::PairFault::kHangs; });
}

bool take_allocation_fault(int ordinal) {
  auto& faults = state();
  std::lock_guard lock(faults.mutex);
  return take(faults.allocations[static_cast<size_t>(ordinal)]);
}

bool take_copy_fault(int ordinal) {
  auto& faults = state();
  if (!faults.copies_fail.load(std::memory_order_relaxed)) return false;
  std::lock_guard lock(faults.mutex);
  return take(faults.copies[static_cast<size_t>(ordinal)]);
}

namespace {
std::atomic<bool (*)()> g_wait_filter{nullptr};
}

bool leaves_out_wait() {
  const auto filter = g_wait_filter.load(std::memory_order_relaxed);
  return filter != nullptr && filter();
}

bool take_staging_fault() {
  auto& faults = state();
  std::lock_guard lock(faults.mutex);
  return take(faults.staging);
}

}  // namespace host

namespace faults {

void set_device_delay_us(int ordinal, int64_t delay_us) {
  host::check_ordinal(ordinal);
  host::state().delay_us[static_cast<size_t>(ordinal)].store(delay_us, std::memory_order_relaxed);
}

void fail_allocations(int ordinal, int count, int skip) {
  host::check_ordinal(ordinal);
  auto& faults = host::state();
  std::lock_guard lock(faults.mutex);
  faults.allocations[static_cast<size_t>(ordinal)] = {skip, count};
}

void fail_staging(int count, int skip) {
  auto& faults = host::state();
  std::lock_guard lock(faults.mutex);
  faults.staging = {skip, count};
}

void fail_copies(int ordinal, int count, int skip) {
  host::check_ordinal(ordinal);
  auto& faults = host::state();
  std::lock_guard lock(faults.mutex);
  faults.copies[static_cast<size_t>(ordinal)] = {skip, count};
  faults.copies_fail.store(true, std::memory_order_relaxed);
}

void set_peer_access(int a, int b, bool allowed) {
  host::check_ordinal(a);
  host::check_ordinal(b);
  auto& blocked = host::state().blocked;
  blocked[static_cast<size_t>(a)][static_cast<size_t>(b)].store(!allowed);
  blocked[static_cast<size_t>(b)][static_cast<size_t>(a)].store(!allowed);
}

void set_pair_fault(int from, int to, PairFault fault) {
  host::check_ordinal(from);
  host::check_ordinal(to);
  auto& faults = host::state();
  std::lock_guard lock(faults.mutex);
  faults.pairs[static_cast<size_t>(from)][static_cast<size_t>(to)].store(
      static_cast<uint8_t>(fault), std::memory_order_relaxed);
  faults.pairs_changed.notify_all();
}

void set_wait_filter(bool (*leaves_out)()) { host::g_wait_filter.store(leaves_out); }

void clear() {
  auto& faults = host::state();
  set_wait_filter(nullptr);
  for (auto& delay : faults.delay_us) delay.store(0);
  for (auto& row : faults.blocked) {
    for (auto& cell : row) cell.store(false);
  }
  std::lock_guard lock(faults.mutex);
  for (auto& row : faults.pairs) {
    for (auto& cell : row) cell.store(0, std::memory_order_relaxed);
  }
  faults.pairs_changed.notify_all();
  faults.allocations.fill({});
  faults.staging = {};
  faults.copies.fill({});
  faults.copies_fail.store(false, std::memory_order_relaxed);
}

}  // namespace faults
}  // namespace fabric
