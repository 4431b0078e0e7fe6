// The Work handle of one rank: waits on the rank's slot until launched, then for its result.
// Made by Group::submit; holds the slot, never the group.
#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "fabric/graph.h"
#include "group/slot.h"

namespace fabric {
namespace {

class RankWork final : public Work {
 public:
  RankWork(std::shared_ptr<Slot> slot, int rank) : slot_(std::move(slot)), rank_(rank) {}

  void wait_launched() override {
    if (slot_->wait(std::nullopt) == Slot::Wait::kFailed) slot_->rethrow();
  }

  bool launched() const override { return slot_->launched(); }

  void stream_wait(Stream& stream) override {
    if (const Error* error = slot_->error()) throw *error;
    if (!slot_->launched()) {
      fail(ErrorCode::kUsage, "stream_wait before call %llu was launched: wait_launched() first",
           static_cast<unsigned long long>(slot_->sequence()));
    }
    // A stream that the call ran on has it behind itself.
    if (slot_->stream(rank_) != &stream) slot_->done_event(rank_)->wait(stream);
  }

  bool done() const override { return slot_->done(rank_); }

  bool synchronize(int64_t timeout_ms) override {
    const auto limit = Slot::Clock::now() + std::chrono::milliseconds(std::clamp<int64_t>(
                                                timeout_ms, 0, Slot::kLongestMs));
    switch (slot_->wait(limit)) {
      case Slot::Wait::kTimedOut:
        return false;
      case Slot::Wait::kFailed:
        slot_->rethrow();
      case Slot::Wait::kLaunched:
        break;
    }
    require_own_time();
    if (slot_->done(rank_) && !slot_->group().sessions.faulted()) return true;
    // A callback hears of a deadline, an abort and a lost device too; the event would not.
    struct Ending {
      std::mutex mutex;
      std::condition_variable told;
      bool done = false;
      std::optional<Error> error;
    };
    auto ending = std::make_shared<Ending>();
    slot_->on_done(rank_, [ending](const Error* error) {
      std::lock_guard lock(ending->mutex);
      if (error != nullptr) ending->error = *error;
      ending->done = true;
      ending->told.notify_all();
    });
    std::unique_lock lock(ending->mutex);
    if (!ending->told.wait_until(lock, limit, [&] { return ending->done; })) return false;
    if (ending->error) throw *ending->error;
    return true;
  }

  uint64_t votes() const override { return slot_->launched() ? slot_->votes() : 0; }
  uint64_t sequence() const override { return slot_->sequence(); }
  void on_done(std::function<void(const Error*)> fn) override {
    require_eager(*slot_->group().devices[static_cast<size_t>(rank_)], "waiting for a collective");
    require_own_time();
    slot_->on_done(rank_, std::move(fn));
  }

 private:
  void require_own_time() const {
    if (!slot_->captured()) return;
    fail(ErrorCode::kUsage,
         "call %llu is part of a captured step and is done at each replay: wait for the replay",
         static_cast<unsigned long long>(slot_->sequence()));
  }

  std::shared_ptr<Slot> slot_;
  int rank_;
};

}  // namespace

std::shared_ptr<Work> make_work(std::shared_ptr<Slot> slot, int rank) {
  return std::make_shared<RankWork>(std::move(slot), rank);
}

}  // namespace fabric
