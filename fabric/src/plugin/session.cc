// A plugin's algorithm opened for a group, and its calls. See plugin/session.h.
//
// Design. Who keeps whom: a call keeps its Opened, an Opened its Bound (the struct and the library).
// A call inside a capture is kept by the capture and then by the graph, with what `prepare` gave, so
// a graph may outlive its group. Functions on host streams keep it until they have run.
//  - Closing: `close` must find nothing running. When the last owner goes while work still runs (it
//    may be told to leave, not to be done), a thread waits for the members' streams and for the done
//    events of the latest call on its callers' streams, and closes then;
//    when they do not end within a minute, the memory and the library are kept for good.
//  - Leaving: abort() sets WeftControl::abort of all ranks, with release; the work polls it. Work
//    that leaves writes its record and then `status`; fault() reads them, with acquire.
//  - recover() waits for the streams, clears workspace and control words, and tells the plugin.
#include "plugin/session.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "fabric/graph.h"
#include "plugin/status.h"
#include "plugin/views.h"

namespace fabric::plugin {
namespace {

constexpr int64_t kCloseMs = 60'000;

struct Bound {
  WeftAlgorithm algorithm;
  std::string name;
  std::shared_ptr<void> library;
  std::string who() const { return "algorithm " + name; }
};

uint32_t load(uint32_t& word) {
  return std::atomic_ref<uint32_t>(word).load(std::memory_order_acquire);
}

/// False when a stream still had work at the limit. Asks every millisecond, since a wait for a stream
/// must not meet a capture that begins meanwhile.
bool wait_idle(const GroupView& group, int64_t timeout_ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!group.idle()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

struct Opened {
  Opened(std::shared_ptr<const Bound> algorithm, const GroupMembers& members)
      : bound(std::move(algorithm)), group(std::make_unique<GroupView>(members)) {
    ask(bound->who(), "open for a group",
        [&] { return bound->algorithm.open(bound->algorithm.ctx, group.get(), &state); });
    open = true;
  }

  ~Opened() {
    if (!open) return;
    try {
      if (!group->idle()) {
        std::thread([this_bound = bound, kept = state, view = group.release()] {
          std::unique_ptr<GroupView> group(view);
          bool over = false;
          try {
            over = wait_idle(*group, kCloseMs);
          } catch (const Error&) {  // a lost device
          }
          if (!over) {
            (void)group.release();
            (void)new std::shared_ptr<const Bound>(this_bound);
            return;
          }
          close(*this_bound, kept);
        }).detach();
        return;
      }
    } catch (const std::exception&) {  // a lost device, or no thread: nothing is given back
      (void)group.release();
      (void)new std::shared_ptr<const Bound>(bound);
      return;
    }
    close(*bound, state);
  }

  static void close(const Bound& bound, void* state) noexcept {
    try {
      if (bound.algorithm.close != nullptr) bound.algorithm.close(bound.algorithm.ctx, state);
    } catch (...) {  // nobody is left to be told
    }
  }

  const std::shared_ptr<const Bound> bound;
  std::unique_ptr<GroupView> group;
  void* state = nullptr;
  bool open = false;
};

/// A call that was prepared; the graph shares it when it was captured.
struct Prepared final : CapturedNeed {
  Prepared(std::shared_ptr<Opened> session, const CollectiveCall& call)
      : opened(std::move(session)), view(call) {
    const WeftAlgorithm& algorithm = opened->bound->algorithm;
    ask(opened->bound->who(), "prepare a call", [&] {
      return algorithm.prepare == nullptr
                 ? WEFT_OK
                 : algorithm.prepare(algorithm.ctx, opened->state, &view, &given);
    });
  }

  ~Prepared() override {
    const WeftAlgorithm& algorithm = opened->bound->algorithm;
    try {
      if (algorithm.discard != nullptr) algorithm.discard(algorithm.ctx, opened->state, given);
    } catch (...) {  // nobody is left to be told
    }
  }

  const std::shared_ptr<Opened> opened;
  CallView view;
  void* given = nullptr;
};

class Call final : public PreparedCall {
 public:
  explicit Call(std::shared_ptr<Prepared> prepared) : prepared_(std::move(prepared)) {}

  void enqueue() override {
    Opened& opened = *prepared_->opened;
    const WeftAlgorithm& algorithm = opened.bound->algorithm;
    if ((prepared_->view.flags & WEFT_CALL_CAPTURED) != 0) {
      prepared_->view.devices[0]->captures().keep(prepared_);
    }
    ask(opened.bound->who(), "launch a call", [&] {
      return algorithm.launch(algorithm.ctx, opened.state, &prepared_->view, prepared_->given);
    });
  }

 private:
  std::shared_ptr<Prepared> prepared_;
};

class Session final : public AlgorithmSession {
 public:
  Session(const std::shared_ptr<const Bound>& bound, const GroupMembers& members)
      : opened_(std::make_shared<Opened>(bound, members)) {}

  std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) override {
    auto prepared = std::make_shared<Prepared>(opened_, call);
    prepared->view.owner = prepared;
    return std::make_unique<Call>(std::move(prepared));
  }

  void abort() override {
    for (uint32_t r = 0; r < group().ranks; ++r) {
      std::atomic_ref(group().control(r)->abort).store(1, std::memory_order_release);
    }
  }

  void joined(std::vector<std::shared_ptr<Event>> done) override {
    group().set_joined(std::move(done));
  }

  std::optional<Error> fault() override {
    for (uint32_t r = 0; r < group().ranks; ++r) {
      WeftControl& record = *group().control(r);
      const uint32_t status = load(record.status);
      if (status != 0) return told(record, status);
    }
    return std::nullopt;
  }

  void recover(int64_t timeout_ms) override {
    for (Device* device : group().devices) require_eager(*device, "recovering a group");
    if (!wait_idle(group(), timeout_ms)) {
      fail(ErrorCode::kCollectiveTimeout,
           "group %u cannot use algorithm %s again: work of an earlier call, which was told to "
           "leave, "
           "still runs after %lld ms",
           group().id, opened_->bound->name.c_str(), static_cast<long long>(timeout_ms));
    }
    for (auto& workspace : group().workspaces) workspace->clear();
    std::memset(group().control(0), 0, group().ranks * sizeof(WeftControl));
    const WeftAlgorithm& algorithm = opened_->bound->algorithm;
    if (algorithm.recover == nullptr) return;
    ask(opened_->bound->who(), "recover",
        [&] { return algorithm.recover(algorithm.ctx, opened_->state); });
  }

 private:
  GroupView& group() const { return *opened_->group; }

  const char* phase(uint32_t number) const {
    const char* const* names = opened_->bound->algorithm.phases;
    for (uint32_t i = 0; names != nullptr && names[i] != nullptr; ++i) {
      if (i == number) return names[i];
    }
    return nullptr;
  }

  Error told(const WeftControl& record, uint32_t status) const {
    const auto name = [&](uint32_t rank) {
      return rank < group().ranks
                 ? "rank " + std::to_string(rank) + " (" + group().devices[rank]->name() + ")"
                 : "rank " + std::to_string(rank);
    };
    const char* what = phase(record.phase);
    std::string text = "algorithm " + opened_->bound->name + ", group " +
                       std::to_string(group().id) + ": " + name(record.rank) + " left its kernel " +
                       (status == 1 ? "at its deadline" : "when told to") + " after " +
                       std::to_string(record.waited_us / 1000) + " ms: it waited for " +
                       name(record.peer) + " in " +
                       (what != nullptr ? std::string("'") + what + "'"
                                        : "phase " + std::to_string(record.phase)) +
                       ", epoch " + std::to_string(record.epoch) + ", chunk " +
                       std::to_string(record.chunk) + ", for flag " +
                       std::to_string(record.expected) + " and saw " + std::to_string(record.seen);
    return Error(ErrorCode::kCollectiveTimeout, std::move(text));
  }

  const std::shared_ptr<Opened> opened_;
};

}  // namespace

Algorithm wrap(const WeftAlgorithm& algorithm, std::shared_ptr<void> library) {
  constexpr uint32_t kLargest = 4096;  // more than any future minor will need
  if (algorithm.size < sizeof(WeftAlgorithm) || algorithm.size > kLargest) {
    fail(ErrorCode::kPlugin, "a WeftAlgorithm says that it has %u bytes; version %u.%u has %zu",
         algorithm.size, WEFT_ABI_MAJOR, WEFT_ABI_MINOR, sizeof(WeftAlgorithm));
  }
  if (algorithm.name == nullptr || algorithm.name[0] == '\0') {
    fail(ErrorCode::kPlugin, "a WeftAlgorithm has no name");
  }
  if (algorithm.supports == nullptr || algorithm.open == nullptr || algorithm.launch == nullptr) {
    fail(ErrorCode::kPlugin, "algorithm %s lacks one of supports, open and launch", algorithm.name);
  }
  auto bound = std::make_shared<const Bound>(Bound{algorithm, algorithm.name, std::move(library)});
  Algorithm out;
  out.name = bound->name;
  out.rank_order = (algorithm.flags & WEFT_ALGORITHM_RANK_ORDER) != 0;
  out.joins = (algorithm.flags & WEFT_ALGORITHM_CALL_STREAMS) != 0;
  out.supports = [bound](const CallShape& shape) {
    const WeftCall call = shape_of(shape);
    return bound->algorithm.supports(bound->algorithm.ctx, &call) == 1;
  };
  out.open = [bound](const GroupMembers& members) -> std::unique_ptr<AlgorithmSession> {
    return std::make_unique<Session>(bound, members);
  };
  return out;
}

}  // namespace fabric::plugin
