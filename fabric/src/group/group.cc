// Group: the numbered calls of an ordered set of devices, from arrival to launch. Tensors, the
// trainer and the Node binding submit to it; the slot of a call is in group/slot.h, waiting in
// work.cc.
//
// Design. The group's mutex guards who is at which call; it is held for a few instructions and
// never while launching, waiting or calling anybody back. The rank that completes a slot puts it in
// ready_, under the same mutex, and then takes its turn: whoever holds turn_ launches from the
// front of ready_ until its own slot was launched, by itself or by the one before. So calls of one
// group launch in the order of their numbers, whatever threads they come from, and a launch that
// waits for memory holds up its own group only. Launching is group/launch.cc.
//  - Lock order: turn_, then mutex_; callbacks of works run under neither.
//  - What breaks it: an on_launched callback that submits to the same group, which is inside its
//    turn.
#include "fabric/group.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>

#include "fabric/fabric.h"
#include "group/channels.h"
#include "group/coalesced.h"
#include "group/flight_watch.h"
#include "group/join_devices.h"
#include "group/launch.h"
#include "group/roster.h"
#include "group/slot.h"
#include "runtime/watchdog.h"

namespace fabric {
namespace {

using Clock = Slot::Clock;

class GroupImpl final : public Group, public Watched {
 public:
  /// `of`: the group that it is a pair of, and its ranks there.
  GroupImpl(std::vector<Device*> devices, std::string name, bool peers,
            const GroupState* of = nullptr, std::vector<int> pair_ranks = {})
      : state_(std::make_shared<GroupState>()),
        taken_(of != nullptr ? std::vector<Device*>{} : devices) {
    state_->channels = taken_.numbers();
    if (of != nullptr) state_->pair_of = of->id;
    for (int rank : pair_ranks) state_->channels.push_back(of->channels[rank]);
    state_->pair_ranks = std::move(pair_ranks);
    static std::atomic<uint32_t> next_id{1};
    state_->devices = std::move(devices);
    state_->id = next_id.fetch_add(1);
    state_->name = std::move(name);
    state_->peers = peers;
    state_->seats = std::make_unique<GroupState::Seat[]>(state_->devices.size());
    next_call_.assign(state_->devices.size(), 1);
  }

  // Nobody can arrive any more; launched calls go on under FlightWatch.
  ~GroupImpl() override {
    const Error error(ErrorCode::kUsage, "the group was disposed of while this call was open");
    for (auto& slot : slots_) slot->fail(error);
    FlightWatch::instance().forget_landed(*state_);
  }

  /// Before the first call.
  void limit_multiprocessors(int count) { state_->multiprocessors = count; }

  int size() const override { return static_cast<int>(state_->devices.size()); }
  uint32_t id() const override { return state_->id; }
  int multiprocessors() const override { return state_->multiprocessors; }
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
    for (CollectiveArgs& part : args) {
      // Of one that may join its stream the launch records it, when it does not.
      producers.push_back(part.joins ? Event() : record_producer(part));
    }
    std::vector<Arrival> arrivals;
    {
      std::lock_guard lock(mutex_);
      if (!is_aborted()) pass_failed_calls();
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
      {
        std::lock_guard state(state_->mutex);
        if (!state_->aborted) state_->aborted = error;
        state_->last_abort = error;
      }
      state_->aborts.fetch_add(1);
      open.assign(slots_.begin(), slots_.end());
    }
    event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 0,
                   static_cast<uint32_t>(error.code()), id());
    for (auto& slot : open) slot->fail(error);
    FlightWatch::instance().end(*state_, error);
    state_->sessions.abort();  // graphs with calls of the group may run, which nobody watches
    for (auto& pair : pairs()) pair->abort(error);
  }

  std::optional<Error> aborted() const override {
    std::lock_guard lock(state_->mutex);
    return state_->aborted;
  }

  void reset() override {
    std::deque<std::shared_ptr<Slot>> open;
    {
      std::lock_guard lock(mutex_);
      {
        std::lock_guard state(state_->mutex);
        state_->aborted.reset();
      }
      open.swap(slots_);
      const uint64_t next = *std::max_element(next_call_.begin(), next_call_.end());
      std::fill(next_call_.begin(), next_call_.end(), next);
      first_call_ = next;
    }
    const Error error(ErrorCode::kUsage, "the group was reset while this call was open");
    for (auto& slot : open) slot->fail(error);
    for (auto& pair : pairs()) pair->reset();
  }

  std::shared_ptr<Group> pair(int from, int to) override {
    check_rank(from);
    check_rank(to);
    if (from == to)
      fail(ErrorCode::kUsage, "rank %d of group %u cannot send to itself", from, id());
    std::shared_ptr<GroupImpl> made;
    {
      std::lock_guard lock(pairs_mutex_);
      std::shared_ptr<Group>& pair = pairs_[{from, to}];
      if (pair) return pair;
      made = std::make_shared<GroupImpl>(
          std::vector<Device*>{state_->devices[from], state_->devices[to]},
          "rank " + std::to_string(from) + " to rank " + std::to_string(to) + " of group " +
              std::to_string(id()),
          state_->peers, state_.get(), std::vector<int>{from, to});
      pair = made;
    }
    Watchdog::instance().watch(made);
    GroupRoster::instance().add(made);
    if (auto error = aborted()) made->abort(*error);  // abort() may not have seen it
    return made;
  }

  Stream& stream(int rank) const override {
    check_rank(rank);
    return state_->comm(static_cast<size_t>(rank));
  }

  // With those of its pairs, whose aborts are its own.
  GroupStats stats() const override {
    GroupStats all = state_->stats();
    for (const auto& pair : pairs()) add_calls(all, pair->stats());
    return all;
  }

  GroupReport report() const override {
    GroupReport out{id(), state_->name, "", state_->stats(), {}, {}};
    if (auto error = aborted()) out.aborted = error->message();
    std::vector<std::shared_ptr<Slot>> gathering;
    {
      std::lock_guard lock(mutex_);
      if (auto slot = launching_.lock()) gathering.push_back(std::move(slot));
      gathering.insert(gathering.end(), ready_.begin(), ready_.end());
      gathering.insert(gathering.end(), slots_.begin(), slots_.end());
    }
    for (int r = 0; r < size(); ++r) {
      const GroupState::Seat& seat = state_->seats[r];
      out.ranks.push_back({state_->devices[r]->index(), seat.calls, seat.last_ns, seat.last});
    }
    // Launched calls end in order: behind the newest that is over all are.
    auto flights = FlightWatch::instance().flights(*state_);
    for (auto slot = flights.rbegin(); slot != flights.rend(); ++slot) {
      auto call = (*slot)->report();
      if (!call) break;
      out.calls.push_back(std::move(*call));
    }
    for (auto& slot : gathering) {
      if (auto call = slot->report()) out.calls.push_back(std::move(*call));
    }
    const auto number = [](const OpenCall& call) { return call.sequence; };
    std::ranges::sort(out.calls, {}, number);
    const auto twice = std::ranges::unique(out.calls, {}, number);
    out.calls.erase(twice.begin(), twice.end());
    return out;
  }

  TimePoint expire(TimePoint now) override {
    std::vector<std::shared_ptr<Slot>> open;
    {
      std::lock_guard lock(mutex_);
      open.assign(slots_.begin(), slots_.end());
    }
    TimePoint earliest = TimePoint::max();
    for (auto& slot : open) {
      if (poisoned()) slot->fail(poison_error());
      slot->expire(now);
      if (slot->gathering()) earliest = std::min(earliest, slot->deadline());
    }
    return earliest;
  }

 private:
  std::vector<std::shared_ptr<Group>> pairs() const {
    std::lock_guard lock(pairs_mutex_);
    std::vector<std::shared_ptr<Group>> all;
    for (const auto& [ranks, pair] : pairs_) all.push_back(pair);
    return all;
  }

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
    return Clock::now() +
           std::chrono::milliseconds(std::clamp<int64_t>(timeout_ms, 0, Slot::kLongestMs));
  }

  static Event record_producer(const CollectiveArgs& args) {
    if (args.stream == nullptr) return {};
    Event event(args.stream->device());
    event.record(*args.stream);
    return event;
  }

  bool is_aborted() const {
    std::lock_guard lock(state_->mutex);
    return state_->aborted.has_value();
  }

  // Under mutex_, for a call of all ranks: those that missed failed calls pass them by.
  void pass_failed_calls() {
    const uint64_t next = *std::max_element(next_call_.begin(), next_call_.end());
    for (int r = 0; r < size(); ++r) {
      for (uint64_t call = next_call_[r]; call < next; ++call) {
        if (slots_[call - first_call_]->failed()) continue;
        const int ahead = static_cast<int>(std::max_element(next_call_.begin(), next_call_.end()) -
                                           next_call_.begin());
        fail(ErrorCode::kUsage,
             "a call for all ranks of group %u cannot overtake call %llu, which rank %d made and "
             "rank %d did not yet: let all ranks make it, or wait for its deadline",
             id(), static_cast<unsigned long long>(call), ahead, r);
      }
    }
    std::fill(next_call_.begin(), next_call_.end(), next);
    drop_passed();
  }

  // Under mutex_. slots_[i] is call first_call_ + i; a slot leaves when all ranks have passed it.
  void drop_passed() {
    const uint64_t passed = *std::min_element(next_call_.begin(), next_call_.end());
    while (first_call_ < passed && !slots_.empty()) {
      slots_.pop_front();
      ++first_call_;
    }
  }

  // Under mutex_.
  Arrival arrive(int rank, CollectiveArgs&& args, Event&& producer, Clock::time_point deadline) {
    if (args.kind == CollectiveKind::kCoalesced) {
      args.dtype = DType::kU8;
      args.count = coalesced_bytes(args);
    }
    if (auto error = aborted()) {
      auto slot = std::make_shared<Slot>(state_, next_call_[rank]);
      slot->fail(*error);
      return {std::move(slot), false};
    }
    const uint64_t call = next_call_[rank]++;
    GroupState::Seat& seat = state_->seats[rank];
    seat.calls.store(call, std::memory_order_relaxed);
    seat.last_ns.store(event_log::now_ns(), std::memory_order_relaxed);
    seat.last.store(args.kind, std::memory_order_relaxed);
    event_log::log(EventKind::kCollectiveArrive, state_->devices[rank]->index(),
                   args.stream != nullptr ? args.stream->id() : 0, kNoDevice, payload_bytes(args),
                   call, event_detail(args, id()));
    while (first_call_ + slots_.size() <= call) {
      slots_.push_back(std::make_shared<Slot>(state_, first_call_ + slots_.size()));
    }
    Arrival arrival{slots_[call - first_call_], false};
    arrival.last = arrival.slot->arrive(rank, std::move(args), std::move(producer), deadline);
    if (arrival.last) ready_.push_back(arrival.slot);
    drop_passed();
    return arrival;
  }

  // Outside mutex_: the last rank launches, others make sure that the deadline is watched.
  void settle(const Arrival& arrival, Clock::time_point deadline) {
    if (arrival.last) {
      launch_up_to(*arrival.slot);
    } else if (arrival.slot->gathering()) {
      Watchdog::instance().arm(deadline);
      // A device lost since the caller asked: the watchdog may have looked before this arrival.
      if (poisoned()) arrival.slot->fail(poison_error());
    }
  }

  void launch_up_to(const Slot& own) {
    std::vector<std::pair<std::shared_ptr<Slot>, std::optional<Error>>> launched;
    {
      std::lock_guard turn(turn_);
      while (auto slot = take_ready()) {
        launched.emplace_back(slot, launch_call(*slot));
        if (slot.get() == &own) break;
      }
    }
    for (auto& [slot, error] : launched) settle_call(slot, error);
  }

  std::shared_ptr<Slot> take_ready() {
    std::lock_guard lock(mutex_);
    if (ready_.empty()) return nullptr;
    auto slot = std::move(ready_.front());
    ready_.pop_front();
    launching_ = slot;
    return slot;
  }

  const std::shared_ptr<GroupState> state_;
  const TakenChannels taken_;  // none of a pair, which has its group's
  std::mutex turn_;            // held while launching
  mutable std::mutex mutex_;   // guards what follows
  std::vector<uint64_t> next_call_;
  std::deque<std::shared_ptr<Slot>> slots_;
  std::deque<std::shared_ptr<Slot>> ready_;  // full, to be launched in this order
  std::weak_ptr<Slot> launching_;            // the one taken last, for reports
  uint64_t first_call_ = 1;

  mutable std::mutex pairs_mutex_;  // guards pairs_; held over no call of theirs
  std::map<std::pair<int, int>, std::shared_ptr<Group>> pairs_;
};

}  // namespace

std::shared_ptr<Group> Group::create(std::vector<Device*> devices, std::string name,
                                     int multiprocessors) {
  if (multiprocessors < 0) {
    fail(ErrorCode::kUsage,
         "a group's kernels may fill %d multiprocessors: give a number from 1 on", multiprocessors);
  }
  const bool peers = join_devices(devices);
  auto group = std::make_shared<GroupImpl>(std::move(devices), std::move(name), peers);
  group->limit_multiprocessors(multiprocessors);
  Watchdog::instance().watch(group);
  GroupRoster::instance().add(group);
  return group;
}

}  // namespace fabric
