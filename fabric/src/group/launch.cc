// Launches a call for all ranks, in the thread of a rank that arrived last; group.cc calls it.
//
// Design. The ranks' parts are compared. Then the call is prepared: all that may fail or wait for
// memory, with nothing enqueued and no lock of the process held. Then everything is enqueued: each
// comm stream waits for its rank's producer event, runs the algorithm and records the rank's done
// event. Only then do the buffers' owners hear of it (on_launched) and waiters wake.
//  - Joined: where every caller's stream waits for the result at once (CollectiveArgs::joins) an
//    algorithm that can runs on these streams, without edges to the comm streams and back. The next
//    call of the group, when it runs elsewhere, waits for the done events of this one; turns
//    (runtime/kernel_turns.h) order it among groups and graphs; its session keeps the done events.
//  - All or none: a failure before the first enqueue leaves nothing behind. After one that comes
//    later, close() makes every comm stream wait for all ranks' comm and push streams, so that
//    whatever is ordered after a comm stream (scratch, inboxes, the buffers by on_launched) is
//    ordered after what was enqueued. Where even that fails (a lost device), the call's memory is
//    kept for good. Either way all ranks get the error.
//
// Enqueuing happens under the process's one launch mutex; runtime/launch_order.h says why.
//
// Events. collective_arrive, collective_launch, collective_combine and collective_done carry id =
// call number, detail = kind in the low 8 bits and the group's id above, as do the call's copies;
// extra is the time in ns since the first arrival (launch) or since the launch (done). The choice of
// an algorithm is a plugin event with the same id and detail; extra is its place in algorithms().
#include "group/launch.h"

#include <mutex>
#include <thread>

#include "collective/algorithms.h"
#include "fabric/event_tags.h"
#include "fabric/graph.h"
#include "fabric/path_counters.h"
#include "group/coalesced.h"
#include "group/desync.h"
#include "group/flight_watch.h"
#include "runtime/kernel_turns.h"
#include "runtime/launch_order.h"

namespace fabric {
namespace {

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

class Launch {
 public:
  explicit Launch(Slot& slot)
      : slot_(slot),
        args_(slot.args()),
        devices_(slot.group().devices),
        bytes_(payload_bytes(args_[0])),
        detail_(event_detail(args_[0], slot.group().id)) {
    for (auto& call : slot.calls()) calls_.push_back(call);
    if (args_[0].kind != CollectiveKind::kCoalesced) calls_.push_back(args_);
  }

  std::optional<Error> prepare() {
    return guarded([&] {
      for (size_t r = 0; r < devices_.size(); ++r) {
        const int rank = static_cast<int>(r);
        slot_.started_event(rank) = Event(*devices_[r]);
        slot_.done_event(rank) = std::make_shared<Event>(*devices_[r]);
        streams_.push_back(&slot_.group().comm(r));
      }
      if (args_[0].kind == CollectiveKind::kReplay) {
        args_[0].graph->make_ready();
      } else {
        for (std::span<CollectiveArgs> call : calls_) prepare_call(call);
      }
      for (size_t r = 0; r < devices_.size(); ++r) {
        const int rank = static_cast<int>(r);
        slot_.stream(rank) = streams_[r];
        if (args_[r].joins && !joined_ && args_[r].stream != nullptr) {
          slot_.producer(rank) = Event(args_[r].stream->device());
        }
      }
    });
  }

  std::optional<Error> enqueue() {
    std::lock_guard lock(launch_order());
    if (poisoned()) return poison_error();
    launch_ns_ = event_log::now_ns();
    auto error = guarded([&] {
      if (captured_together(devices_, collective_name(args_[0].kind))) slot_.set_captured();
    });
    if (error) return error;
    if (!sessions_.empty()) error = guarded([&] { take_turn(); });
    if (error) return error;
    enqueued_ = true;
    error = guarded([&] { enqueue_all(); });
    if (error) {
      lost_ = guarded([&] { close(); }).has_value();
    } else {
      guarded([&] { log_launch(); });
    }
    return error;
  }

  /// Tells the owners of the buffers, when anything was enqueued.
  std::optional<Error> tell_owners() {
    std::optional<Error> error;
    if (!enqueued_) return error;
    const auto tell = [&](std::span<CollectiveArgs> parts) {
      for (size_t r = 0; r < parts.size(); ++r) {
        if (!parts[r].on_launched) continue;
        auto thrown = guarded([&] { parts[r].on_launched(stream(r)); });
        if (!thrown) continue;
        lost_ = true;
        if (!error) error = std::move(thrown);
      }
    };
    tell(args_);
    for (auto& call : slot_.calls()) tell(call);
    return error;
  }

  /// Where work may be under way that nothing is ordered after: nothing of the call is given back.
  ~Launch() {
    if (!lost_) return;
    static auto* kept = new Kept;
    std::lock_guard lock(kept->mutex);
    for (auto& each : prepared_) kept->prepared.push_back(std::move(each));
    for (auto& call : slot_.calls()) kept->args.push_back(std::move(call));
    kept->args.push_back(std::move(args_));
  }

 private:
  /// Never destroyed.
  struct Kept {
    std::mutex mutex;  // guards what follows
    std::vector<std::unique_ptr<PreparedCall>> prepared;
    std::vector<std::vector<CollectiveArgs>> args;
  };

  /// Where the rank's part runs.
  Stream& stream(size_t rank) const { return *streams_[rank]; }

  /// The call runs on its callers' streams when all of them let it and the algorithm can. Streams that
  /// a device owns alone: others may be gone before whoever comes next has waited for them.
  void join(std::span<const CollectiveArgs> args) {
    if (calls_.size() != 1 || args_[0].kind == CollectiveKind::kCoalesced) return;
    for (size_t r = 0; r < args.size(); ++r) {
      const bool own = args[r].stream == &devices_[r]->compute();
      if (!args[r].joins || !own || devices_[r]->capturing()) return;
    }
    joined_ = true;
    for (size_t r = 0; r < args.size(); ++r) streams_[r] = args[r].stream;
  }

  void prepare_call(std::span<CollectiveArgs> args) {
    const CallShape shape = shape_of(args);
    const Chosen chosen = choose_algorithm(shape);
    path_counters::count_algorithm(chosen.place, shape.bytes);
    event_log::log(EventKind::kPlugin, kNoDevice, 0, kNoDevice, shape.bytes, slot_.sequence(),
                   detail_, chosen.place);
    GroupState& group = slot_.group();
    if (chosen.algorithm->joins) join(args);
    const CollectiveCall call{
        args,
        devices_,
        group.channels,
        slot_.sequence(),
        detail_,
        shape,
        joined_ ? std::span<Stream* const>(streams_) : std::span<Stream* const>()};
    if (!chosen.algorithm->open) {
      prepared_.push_back(chosen.algorithm->prepare(call));
      return;
    }
    auto session = group.sessions.ready(
        chosen.algorithm, {group.id, devices_, group.channels, group.multiprocessors});
    prepared_.push_back(session->session().prepare(call));
    sessions_.push_back(std::move(session));
  }

  CallShape shape_of(std::span<const CollectiveArgs> args) const {
    const CollectiveArgs& call = args[0];
    CallShape shape{call.kind, call.op, call.dtype};
    shape.ranks = static_cast<int>(devices_.size());
    shape.count = call.count;
    shape.bytes = payload_bytes(call);
    uintptr_t places = shape.alignment;
    for (const CollectiveArgs& part : args) {
      places |= reinterpret_cast<uintptr_t>(part.in) | reinterpret_cast<uintptr_t>(part.out);
      shape.in_place = shape.in_place || (part.in != nullptr && part.in == part.out);
    }
    shape.alignment = static_cast<uint32_t>(places & (~places + 1));
    shape.captured = devices_[0]->capturing();
    shape.driver = devices_[0]->kind();
    shape.peers = slot_.group().peers;
    shape.group = slot_.group().id;
    return shape;
  }

  void take_turn() {
    std::vector<kernel_turns::Part> parts;
    for (size_t r = 0; r < devices_.size(); ++r) parts.push_back({devices_[r], &stream(r)});
    const uint64_t capture = slot_.captured() ? devices_[0]->captures().id() : 0;
    kernel_turns::take(slot_.group().id, capture, parts);
  }

  void enqueue_all() {
    for (size_t r = 0; r < devices_.size(); ++r) {
      const int rank = static_cast<int>(r);
      Event& producer = slot_.producer(rank);
      if (args_[r].joins && producer) producer.record(*args_[r].stream);
      if (producer) producer.wait(stream(r));
    }
    follow_last();
    for (size_t r = 0; r < devices_.size(); ++r) {
      if (!slot_.captured()) slot_.started_event(static_cast<int>(r)).record(stream(r));
    }
    for (auto& session : sessions_) {
      if (slot_.captured()) devices_[0]->captures().keep(session);
    }
    for (auto& call : prepared_) call->enqueue();
    if (!sessions_.empty()) log_kernels();
    if (args_[0].graph) args_[0].graph->launch_ordered(streams_);
    std::vector<std::shared_ptr<Event>> done;
    for (size_t r = 0; r < devices_.size(); ++r) {
      done.push_back(slot_.done_event(static_cast<int>(r)));
      done.back()->record(stream(r));
    }
    if (slot_.captured()) return;
    if (joined_) sessions_.back()->session().joined(done);
    remember(std::move(done));
  }

  /// For the call that comes next.
  void remember(std::vector<std::shared_ptr<Event>> done) {
    slot_.group().last_done = std::move(done);
    slot_.group().last_streams = streams_;
  }

  /// Calls of a group run in their order, also where one joined its callers' streams.
  void follow_last() {
    const GroupState& group = slot_.group();
    if (slot_.captured() || group.last_streams == streams_) return;
    for (size_t r = 0; r < group.last_done.size(); ++r) group.last_done[r]->wait(stream(r));
  }

  void close() {
    std::vector<Event> latest;
    for (size_t r = 0; r < devices_.size(); ++r) {
      latest.emplace_back(*devices_[r]).record(stream(r));
      Stream* push = devices_[r]->find_push(slot_.group().channels[r]);
      if (push != nullptr) latest.emplace_back(*devices_[r]).record(*push);
    }
    for (size_t r = 0; r < devices_.size(); ++r) {
      for (Event& event : latest) event.wait(stream(r));
    }
    if (slot_.captured()) return;
    std::vector<std::shared_ptr<Event>> closed;
    for (size_t r = 0; r < devices_.size(); ++r) {
      closed.push_back(std::make_shared<Event>(*devices_[r]));
      closed.back()->record(stream(r));
    }
    remember(std::move(closed));
  }

  /// One record a rank for all that an algorithm of a session does there: it logs no steps of its own.
  void log_kernels() {
    for (size_t r = 0; r < devices_.size(); ++r) {
      event_log::log(EventKind::kCollectiveCombine, devices_[r]->index(), stream(r).id(), kNoDevice,
                     bytes_, slot_.sequence(), detail_);
    }
  }

  void log_launch() {
    if (event_log::g_mode.load(std::memory_order_relaxed) == 0) return;
    for (size_t r = 0; r < devices_.size(); ++r) {
      Device& device = *devices_[r];
      Stream& stream = this->stream(r);
      event_log::log(EventKind::kCollectiveLaunch, device.index(), stream.id(), kNoDevice, bytes_,
                     slot_.sequence(), detail_, launch_ns_ - slot_.first_arrival_ns());
      if (device.capturing()) continue;  // a callback belongs to one run, not to every replay
      auto log_done = [index = device.index(), id = stream.id(), bytes = bytes_,
                       launch_ns = launch_ns_, sequence = slot_.sequence(), detail = detail_,
                       tag = event_log::current_tag()] {
        event_log::TagScope scope(tag);
        event_log::log(EventKind::kCollectiveDone, index, id, kNoDevice, bytes, sequence, detail,
                       event_log::now_ns() - launch_ns);
      };
      if (device.kind() == DriverKind::kHost && stream.idle()) {
        log_done();
      } else {
        device.driver().notify(stream.handle(), log_done);
      }
    }
  }

  Slot& slot_;
  std::vector<CollectiveArgs>& args_;
  const std::vector<Device*>& devices_;
  const uint64_t bytes_;
  const uint32_t detail_;
  uint64_t launch_ns_ = 0;
  std::vector<std::span<CollectiveArgs>> calls_;  // one, but of a coalesced call
  std::vector<std::shared_ptr<OpenSession>>
      sessions_;  // of algorithms that keep state for the group
  std::vector<std::unique_ptr<PreparedCall>> prepared_;
  std::vector<Stream*> streams_;  // by rank
  bool joined_ = false;           // they are the callers'
  bool enqueued_ = false;
  bool lost_ = false;
};

// The last owner of a graph waits for its latest run; that must not be the thread that launched.
void let_go(std::shared_ptr<Graph> graph) {
  if (graph.use_count() > 1) return;
  try {
    std::thread([last = std::move(graph)]() mutable { last.reset(); }).detach();
  } catch (const std::system_error&) {  // no thread to be had: it waits here, bounded
  }
}

}  // namespace

uint64_t payload_bytes(const CollectiveArgs& args) {
  return !carries_data(args.kind) ? 0 : args.count * dtype_bytes(args.dtype);
}

uint32_t event_detail(const CollectiveArgs& args, uint32_t group) {
  return static_cast<uint32_t>(args.kind) | group << 8;
}

std::optional<Error> launch_call(Slot& slot) {
  GroupState& group = slot.group();
  std::vector<CollectiveArgs>& args = slot.args();
  if (auto odd = find_disagreement(args, slot.site())) {
    group.desyncs.fetch_add(1, std::memory_order_relaxed);
    return odd->error;
  }
  if (auto bad = find_bad_argument(args, slot.site())) return bad;
  if (args[0].kind == CollectiveKind::kCoalesced) {
    slot.calls() = by_call(args);
    if (auto odd = find_disagreement_in(slot.calls(), slot.site())) {
      group.desyncs.fetch_add(1, std::memory_order_relaxed);
      return odd->error;
    }
    if (auto bad = find_bad_argument_in(slot.calls(), slot.site())) return bad;
  }
  Launch launch(slot);
  std::optional<Error> error = launch.prepare();
  if (!error) error = launch.enqueue();
  std::optional<Error> thrown = launch.tell_owners();
  return error ? error : thrown;
}

void settle_call(const std::shared_ptr<Slot>& slot, const std::optional<Error>& error) {
  GroupState& group = slot->group();
  if (error) {
    event_log::log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, slot->sequence(),
                   static_cast<uint32_t>(error->code()), group.id);
    slot->fail(*error, true);
    return;
  }
  std::vector<CollectiveArgs>& args = slot->args();
  group.calls.fetch_add(1, std::memory_order_relaxed);
  group.bytes.fetch_add(payload_bytes(args[0]), std::memory_order_relaxed);
  std::shared_ptr<Graph> graph = std::move(args[0].graph);
  for (CollectiveArgs& part : args) {
    part.keep_alive.reset();
    part.graph.reset();
    part.on_launched = nullptr;
  }
  slot->calls().clear();
  if (graph) let_go(std::move(graph));
  slot->publish_launched();
  if (slot->captured()) return;
  FlightWatch::instance().add(slot);
  // What happened while it was launching has passed it by.
  if (poisoned()) {
    slot->end_flight(poison_error());
  } else if (slot->aborts_before() != group.aborts.load()) {
    std::optional<Error> abort;
    {
      std::lock_guard lock(group.mutex);
      abort = group.last_abort;
    }
    if (abort) slot->end_flight(*abort);
  }
}

}  // namespace fabric
