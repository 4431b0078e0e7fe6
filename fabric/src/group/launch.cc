// Launches a call for all ranks, in the thread of the rank that arrived last; group.cc calls it.
//
// Design. The ranks' parts are compared, then everything is enqueued: each comm stream waits for
// its rank's producer event, runs the algorithm and records the rank's done event. Only then do the
// buffers' owners hear of it (on_launched) and waiters wake. Whatever fails on the way fails the
// call at all ranks.
//
// Enqueuing happens under the process's one launch mutex; runtime/launch_order.h says why.
//
// Events. collective_arrive, collective_launch and collective_done carry id = call number, detail =
// kind in the low 8 bits and the group's id above; extra is the time in ns since the first arrival
// (launch) or since the launch (done).
#include "group/launch.h"

#include <mutex>
#include <optional>

#include "collective/algorithms.h"
#include "fabric/graph.h"
#include "group/desync.h"
#include "runtime/launch_order.h"

namespace fabric {
namespace {

// Whether done events are logged by the device: free on the host driver, a callback that holds up
// the comm stream elsewhere, so there only in timing mode.
bool logs_done(const Device& device) {
  const int mode = event_log::g_mode.load(std::memory_order_relaxed);
  if (device.capturing()) return false;  // a callback belongs to one run, not to every replay
  return mode == static_cast<int>(LogMode::kTiming) ||
         (mode != 0 && device.kind() == DriverKind::kHost);
}

template <typename Body>
std::optional<Error> guarded(Body&& body) {
  try {
    body();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(ErrorCode::kUsage, error.what());
  }
}

void enqueue(Slot& slot) {
  GroupState& group = slot.group();
  const int ranks = static_cast<int>(group.devices.size());
  std::vector<CollectiveArgs>& args = slot.args();
  const CollectiveArgs& call = args[0];
  const uint64_t bytes = payload_bytes(call);
  const Algorithm* algorithm =
      call.kind == CollectiveKind::kReplay
          ? nullptr
          : &choose_algorithm(call.kind, call.op, call.dtype, ranks, bytes);
  const uint64_t launch_ns = event_log::now_ns();
  std::lock_guard lock(launch_order());
  if (captured_together(group.devices, collective_name(call.kind))) slot.set_captured();
  for (int r = 0; r < ranks; ++r) {
    if (slot.producer(r)) slot.producer(r).wait(group.devices[r]->comm());
  }
  if (algorithm != nullptr) {
    algorithm->launch(args, group.devices);
  } else {
    std::vector<Stream*> streams;
    for (Device* device : group.devices) streams.push_back(&device->comm());
    call.graph->launch_ordered(streams);
  }
  for (int r = 0; r < ranks; ++r) {
    Device& device = *group.devices[r];
    Stream& comm = device.comm();
    Event& done = slot.done_event(r);
    done = Event(device);
    done.record(comm);
    event_log::log(EventKind::kCollectiveLaunch, device.index(), comm.id(), kNoDevice, bytes,
                   slot.sequence(), event_detail(call, group.id),
                   launch_ns - slot.first_arrival_ns());
    if (!logs_done(device)) continue;
    auto log_done = [device = device.index(), stream = comm.id(), bytes, launch_ns,
                     sequence = slot.sequence(), detail = event_detail(call, group.id)] {
      event_log::log(EventKind::kCollectiveDone, device, stream, kNoDevice, bytes, sequence, detail,
                     event_log::now_ns() - launch_ns);
    };
    if (device.kind() == DriverKind::kHost && comm.idle()) {
      log_done();
    } else {
      device.driver().notify(comm.handle(), log_done);
    }
  }
}

}  // namespace

uint64_t payload_bytes(const CollectiveArgs& args) {
  return args.kind >= CollectiveKind::kBarrier ? 0 : args.count * dtype_bytes(args.dtype);
}

uint32_t event_detail(const CollectiveArgs& args, uint32_t group) {
  return static_cast<uint32_t>(args.kind) | group << 8;
}

void launch_call(Slot& slot) {
  GroupState& group = slot.group();
  const int ranks = static_cast<int>(group.devices.size());
  std::vector<CollectiveArgs>& args = slot.args();
  if (auto odd = find_disagreement(args, slot.site())) {
    group.desyncs.fetch_add(1, std::memory_order_relaxed);
    event_log::log(EventKind::kError, group.devices[odd->rank]->index(), 0, kNoDevice, 0,
                   slot.sequence(), static_cast<uint32_t>(ErrorCode::kDesync), group.id);
    slot.fail(odd->error, true);
    return;
  }
  std::optional<Error> error = find_bad_argument(args);
  if (!error) {
    error = guarded([&] { enqueue(slot); });
    // Also after a failure half-way: what was enqueued still uses the buffers.
    for (int r = 0; r < ranks; ++r) {
      if (!args[r].on_launched) continue;
      auto thrown = guarded([&] { args[r].on_launched(group.devices[r]->comm()); });
      if (!error) error = std::move(thrown);
    }
  }
  if (error) {
    event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, slot.sequence(),
                   static_cast<uint32_t>(error->code()), group.id);
    slot.fail(*error, true);
    return;
  }
  const uint64_t bytes = payload_bytes(args[0]);
  for (CollectiveArgs& part : args) {
    part.keep_alive.reset();
    part.graph.reset();
    part.on_launched = nullptr;
  }
  group.calls.fetch_add(1, std::memory_order_relaxed);
  group.bytes.fetch_add(bytes, std::memory_order_relaxed);
  slot.publish_launched();
}

}  // namespace fabric
