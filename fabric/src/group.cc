// Group: the numbered calls of an ordered set of devices, from arrival to launch. Tensors, the
// trainer and the Node binding submit to it; the slot of a call is in group_slot.h, waiting in
// work.cc.
//
// Design. The group's mutex guards who is at which call; it is held for a few instructions and
// never while launching, waiting or calling anybody back. The rank that completes a slot launches
// it in its own thread, for all ranks. Calls of one group launch in order, because that thread is
// inside submit() and its rank must arrive at the next call before anybody can complete it.
//
// Why one launch mutex for the process. Groups may share devices, and their calls share the comm
// streams. Copy algorithms alone could interleave: each wait names an event that was recorded
// before, so waits follow the order of enqueuing and cannot form a cycle. Kernels that spin on
// their peers' flags can: with A before B on one device and B before A on the other, each waits for
// a kernel that stands behind its own. Enqueuing for all devices under one mutex gives every device
// the same order. Launching only enqueues, so the mutex is held for microseconds, and no other lock
// but allocators' is taken under it.
//
// Events. collective_arrive, collective_launch and collective_done carry id = call number, detail =
// kind in the low 8 bits and the group's id above; extra is the time in ns since the first arrival
// (launch) or since the launch (done).
#include "fabric/group.h"

#include <algorithm>
#include <deque>
#include <optional>

#include "collective_algorithms.h"
#include "collective_errors.h"
#include "fabric/fabric.h"
#include "group_slot.h"
#include "watchdog.h"

namespace fabric {
namespace {

using Clock = Slot::Clock;

std::mutex& launch_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

uint32_t event_detail(const CollectiveArgs& args, uint32_t group) {
  return static_cast<uint32_t>(args.kind) | group << 8;
}

uint64_t payload_bytes(const CollectiveArgs& args) {
  return args.kind == CollectiveKind::kBarrier ? 0 : args.count * dtype_bytes(args.dtype);
}

// Whether done events are logged by the device: free on the host driver, a callback that holds up
// the comm stream elsewhere, so there only in timing mode.
bool logs_done(const Device& device) {
  const int mode = event_log::g_mode.load(std::memory_order_relaxed);
  return mode == static_cast<int>(LogMode::kTiming) ||
         (mode != 0 && device.kind() == DriverKind::kHost);
}

class GroupImpl final : public Group, public Watched {
 public:
  GroupImpl(std::vector<Device*> devices, std::string name)
      : state_(std::make_shared<GroupState>()) {
    static std::atomic<uint32_t> next_id{1};
    state_->devices = std::move(devices);
    state_->id = next_id.fetch_add(1);
    state_->name = std::move(name);
    next_call_.assign(state_->devices.size(), 1);
  }

  int size() const override { return static_cast<int>(state_->devices.size()); }
  uint32_t id() const override { return state_->id; }
  Device& device(int rank) const override {
    check_rank(rank);
    return *state_->devices[rank];
  }

  std::shared_ptr<Work> submit(int rank, CollectiveArgs args, int64_t timeout_ms) override {
    check_rank(rank);
    check_poison();
    const Clock::time_point deadline = deadline_after(timeout_ms);
    Event producer = record_producer(args);
    Arrival arrival;
    {
      std::lock_guard lock(mutex_);
      arrival = arrive(rank, std::move(args), std::move(producer), deadline);
    }
    settle(arrival, deadline);
    return make_work(std::move(arrival.slot), rank);
  }

  std::vector<std::shared_ptr<Work>> submit_all(std::span<CollectiveArgs> args,
                                                int64_t timeout_ms) override {
    if (args.size() != state_->devices.size()) {
      fail(ErrorCode::kUsage, "group %u has %d ranks, but %zu parts were submitted", id(), size(),
           args.size());
    }
    check_poison();
    const Clock::time_point deadline = deadline_after(timeout_ms);
    std::vector<Event> producers;
    for (CollectiveArgs& part : args) producers.push_back(record_producer(part));
    std::vector<Arrival> arrivals;
    {
      std::lock_guard lock(mutex_);
      for (int r = 0; r < size(); ++r) {
        arrivals.push_back(arrive(r, std::move(args[r]), std::move(producers[r]), deadline));
      }
    }
    std::vector<std::shared_ptr<Work>> works;
    for (int r = 0; r < size(); ++r) {
      settle(arrivals[r], deadline);
      works.push_back(make_work(std::move(arrivals[r].slot), r));
    }
    return works;
  }

  void abort(const Error& error) override {
    std::vector<std::shared_ptr<Slot>> open;
    {
      std::lock_guard lock(mutex_);
      if (!aborted_) aborted_ = error;
      open.assign(slots_.begin(), slots_.end());
    }
    for (auto& slot : open) slot->fail(error);
    event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 0,
                   static_cast<uint32_t>(error.code()), id());
  }

  void reset() override {
    std::deque<std::shared_ptr<Slot>> open;
    {
      std::lock_guard lock(mutex_);
      aborted_.reset();
      open.swap(slots_);
      const uint64_t next = *std::max_element(next_call_.begin(), next_call_.end());
      std::fill(next_call_.begin(), next_call_.end(), next);
      first_call_ = next;
    }
    const Error error(ErrorCode::kUsage, "the group was reset while this call was open");
    for (auto& slot : open) slot->fail(error);
  }

  GroupStats stats() const override {
    return {state_->calls.load(), state_->bytes.load(), state_->desyncs.load(),
            state_->timeouts.load()};
  }

  TimePoint expire(TimePoint now) override {
    std::vector<std::shared_ptr<Slot>> open;
    {
      std::lock_guard lock(mutex_);
      open.assign(slots_.begin(), slots_.end());
    }
    TimePoint earliest = TimePoint::max();
    for (auto& slot : open) {
      slot->expire(now);
      if (slot->gathering()) earliest = std::min(earliest, slot->deadline());
    }
    return earliest;
  }

 private:
  struct Arrival {
    std::shared_ptr<Slot> slot;
    bool last = false;
  };

  void check_rank(int rank) const {
    if (rank < 0 || rank >= size()) {
      fail(ErrorCode::kUsage, "group %u has ranks 0 to %d, not %d", id(), size() - 1, rank);
    }
  }

  static Clock::time_point deadline_after(int64_t timeout_ms) {
    constexpr int64_t kYear = int64_t{365} * 24 * 3600 * 1000;
    return Clock::now() + std::chrono::milliseconds(std::clamp<int64_t>(timeout_ms, 0, kYear));
  }

  static Event record_producer(const CollectiveArgs& args) {
    if (args.stream == nullptr) return {};
    Event event(args.stream->device());
    event.record(*args.stream);
    return event;
  }

  // Under mutex_. slots_[i] is call first_call_ + i; a slot leaves when all ranks have passed it.
  Arrival arrive(int rank, CollectiveArgs&& args, Event&& producer, Clock::time_point deadline) {
    if (aborted_) {
      auto slot = std::make_shared<Slot>(state_, next_call_[rank]);
      slot->fail(*aborted_);
      return {std::move(slot), false};
    }
    const uint64_t call = next_call_[rank]++;
    event_log::log(EventKind::kCollectiveArrive, state_->devices[rank]->index(),
                   args.stream != nullptr ? args.stream->id() : 0, kNoDevice, payload_bytes(args),
                   call, event_detail(args, id()));
    while (first_call_ + slots_.size() <= call) {
      slots_.push_back(std::make_shared<Slot>(state_, first_call_ + slots_.size()));
    }
    Arrival arrival{slots_[call - first_call_], false};
    arrival.last = arrival.slot->arrive(rank, std::move(args), std::move(producer), deadline);
    const uint64_t passed = *std::min_element(next_call_.begin(), next_call_.end());
    while (first_call_ < passed) {
      slots_.pop_front();
      ++first_call_;
    }
    return arrival;
  }

  // Outside mutex_: the last rank launches, others make sure that the deadline is watched.
  void settle(const Arrival& arrival, Clock::time_point deadline) {
    if (arrival.last) {
      launch(*arrival.slot);
    } else if (arrival.slot->gathering()) {
      Watchdog::instance().arm(deadline);
    }
  }

  void launch(Slot& slot) {
    std::vector<CollectiveArgs>& args = slot.args();
    if (auto odd = find_disagreement(args, slot.site())) {
      state_->desyncs.fetch_add(1, std::memory_order_relaxed);
      event_log::log(EventKind::kError, state_->devices[odd->rank]->index(), 0, kNoDevice, 0,
                     slot.sequence(), static_cast<uint32_t>(ErrorCode::kDesync), id());
      slot.fail(odd->error, true);
      return;
    }
    std::optional<Error> error = find_bad_argument(args);
    if (!error) {
      error = guarded([&] { enqueue(slot); });
      // Also after a failure half-way: what was enqueued still uses the buffers.
      for (int r = 0; r < size(); ++r) {
        if (!args[r].on_launched) continue;
        auto thrown = guarded([&] { args[r].on_launched(state_->devices[r]->comm()); });
        if (!error) error = std::move(thrown);
      }
    }
    if (error) {
      event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, slot.sequence(),
                     static_cast<uint32_t>(error->code()), id());
      slot.fail(*error, true);
      return;
    }
    const uint64_t bytes = payload_bytes(args[0]);
    for (CollectiveArgs& part : args) {
      part.keep_alive.reset();
      part.on_launched = nullptr;
    }
    state_->calls.fetch_add(1, std::memory_order_relaxed);
    state_->bytes.fetch_add(bytes, std::memory_order_relaxed);
    slot.publish_launched();
  }

  template <typename Body>
  static std::optional<Error> guarded(Body&& body) {
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
    std::vector<CollectiveArgs>& args = slot.args();
    const CollectiveArgs& call = args[0];
    const uint64_t bytes = payload_bytes(call);
    const Algorithm& algorithm = choose_algorithm(call.kind, call.op, call.dtype, size(), bytes);
    const uint64_t launch_ns = event_log::now_ns();
    std::lock_guard lock(launch_mutex());
    for (int r = 0; r < size(); ++r) {
      if (slot.producer(r)) slot.producer(r).wait(state_->devices[r]->comm());
    }
    algorithm.launch(args, state_->devices);
    for (int r = 0; r < size(); ++r) {
      Device& device = *state_->devices[r];
      Stream& comm = device.comm();
      Event& done = slot.done_event(r);
      done = Event(device);
      done.record(comm);
      event_log::log(EventKind::kCollectiveLaunch, device.index(), comm.id(), kNoDevice, bytes,
                     slot.sequence(), event_detail(call, id()),
                     launch_ns - slot.first_arrival_ns());
      if (!logs_done(device)) continue;
      auto log_done = [device = device.index(), stream = comm.id(), bytes, launch_ns,
                       sequence = slot.sequence(), detail = event_detail(call, id())] {
        event_log::log(EventKind::kCollectiveDone, device, stream, kNoDevice, bytes, sequence,
                       detail, event_log::now_ns() - launch_ns);
      };
      if (done.query()) {
        log_done();
      } else {
        device.driver().notify(comm.handle(), log_done);
      }
    }
  }

  const std::shared_ptr<GroupState> state_;
  std::mutex mutex_;  // guards what follows
  std::vector<uint64_t> next_call_;
  std::deque<std::shared_ptr<Slot>> slots_;
  uint64_t first_call_ = 1;
  std::optional<Error> aborted_;
};

}  // namespace

std::shared_ptr<Group> Group::create(std::vector<Device*> devices, std::string name) {
  if (devices.empty()) fail(ErrorCode::kUsage, "a group needs at least one device");
  for (size_t i = 0; i < devices.size(); ++i) {
    for (size_t j = 0; j < devices.size(); ++j) {
      if (i != j && devices[i] == devices[j]) {
        fail(ErrorCode::kUsage, "%s is in the group twice", devices[i]->name().c_str());
      }
      if (i != j) enable_peer(*devices[i], *devices[j]);
    }
  }
  auto group = std::make_shared<GroupImpl>(std::move(devices), std::move(name));
  Watchdog::instance().watch(group);
  return group;
}

}  // namespace fabric
