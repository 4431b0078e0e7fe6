// See group_capture.h.
#include "graph/group_capture.h"

#include <algorithm>
#include <chrono>
#include <map>

namespace weft {
namespace {

/// How often a waiting rank looks whether the group was aborted.
constexpr std::chrono::milliseconds kAbortLook{20};

struct Joining {
  std::mutex mutex;                                            // guards captures
  std::map<uint32_t, std::shared_ptr<GroupCapture>> captures;  // by group, until all ranks joined
};
Joining& joining() {
  static auto* table = new Joining();
  return *table;
}

bool all(const std::vector<char>& flags) {
  return std::all_of(flags.begin(), flags.end(), [](char flag) { return flag != 0; });
}

}  // namespace

GroupCapture::GroupCapture(std::shared_ptr<fabric::Group> group, int64_t timeout_ms)
    : group_(std::move(group)),
      timeout_ms_(timeout_ms),
      aborts_before_(group_->stats().aborts),
      joined_(static_cast<size_t>(group_->size()), 0),
      finished_(static_cast<size_t>(group_->size()), 0) {}

void GroupCapture::add_parts(const std::vector<std::shared_ptr<fabric::Group>>& parts) {
  for (const auto& part : parts) {
    if (part == group_ || std::find(parts_.begin(), parts_.end(), part) != parts_.end()) continue;
    parts_.push_back(part);
  }
}

std::shared_ptr<GroupCapture> GroupCapture::join(
    std::shared_ptr<fabric::Group> group, int rank, int64_t timeout_ms,
    const std::vector<std::shared_ptr<fabric::Group>>& parts) {
  if (rank < 0 || rank >= group->size()) {
    fail(ErrorCode::kUsage, "group %u has ranks 0 to %d, not %d", group->id(), group->size() - 1,
         rank);
  }
  std::shared_ptr<GroupCapture> self;
  bool last = false;  // told under the lock, so that one rank alone is
  {
    std::lock_guard guard(joining().mutex);
    auto& entry = joining().captures[group->id()];
    if (!entry) entry = std::make_shared<GroupCapture>(group, timeout_ms);
    self = entry;
    std::lock_guard own(self->mutex_);
    if (self->joined_[static_cast<size_t>(rank)]) {
      fail(ErrorCode::kUsage, "rank %d joined this capture already", rank);
    }
    self->joined_[static_cast<size_t>(rank)] = 1;
    self->add_parts(parts);
    last = all(self->joined_);
    if (last) joining().captures.erase(group->id());
  }
  std::unique_lock lock(self->mutex_);
  if (last) {
    try {
      std::vector<Device*> devices;
      for (int r = 0; r < group->size(); ++r) devices.push_back(&group->device(r));
      self->step_ = std::make_shared<StepGraph>(std::move(devices));
      self->begun_ = true;
    } catch (const Error& error) {
      self->failure_ = error;
    }
    self->changed_.notify_all();
  } else {
    try {
      self->wait(lock, self->joined_, "begin", [&] { return self->begun_ || self->failure_; });
    } catch (const Error&) {
      lock.unlock();
      std::lock_guard guard(joining().mutex);
      auto it = joining().captures.find(group->id());
      if (it != joining().captures.end() && it->second == self) joining().captures.erase(it);
      throw;
    }
  }
  // A rank that was quicker may have failed since: this one hears of it at its turn, for all ranks
  // that began must come to the end.
  if (!self->begun_) throw *self->failure_;
  return self;
}

template <typename Ready>
void GroupCapture::wait(std::unique_lock<std::mutex>& lock, const std::vector<char>& arrived,
                        const char* what, Ready ready) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms_);
  while (std::chrono::steady_clock::now() < deadline) {
    if (changed_.wait_for(lock, kAbortLook, ready)) return;
    // The coordinator of a run aborts the group when a rank's thread is gone: nobody can come to
    // the end then. An abort of our own only tells the others that this capture failed.
    if (group_->stats().aborts > aborts_before_ + own_aborts_) {
      const auto error = group_->aborted();
      if (error) give_up(*error);
      if (failure_) throw *failure_;
    }
  }
  std::string missing;
  for (size_t r = 0; r < arrived.size(); ++r) {
    if (!arrived[r]) missing += (missing.empty() ? "" : ",") + std::to_string(r);
  }
  const Error error(ErrorCode::kCollectiveTimeout,
                    "capturing a step: ranks " + missing + " did not come to its " + what +
                        " within " + std::to_string(timeout_ms_) + " ms",
                    "{\"missing\":[" + missing + "]}");
  give_up(error);
  throw error;
}

// Under the mutex: everybody who waits or comes later hears of it. What was recorded goes with the
// last reference, for a rank that is not here may still be enqueuing.
void GroupCapture::give_up(const Error& error) {
  if (!failure_) failure_ = error;
  done_ = true;
  changed_.notify_all();
}

void GroupCapture::enter(int rank) {
  std::unique_lock lock(mutex_);
  const auto ranks = static_cast<uint64_t>(group_->size());
  wait(lock, joined_, "turns",
       [&] { return failure_ || turn_ % ranks == static_cast<uint64_t>(rank); });
  if (failure_) throw *failure_;
}

void GroupCapture::leave(int) {
  std::lock_guard lock(mutex_);
  ++turn_;
  changed_.notify_all();
}

std::shared_ptr<StepGraph> GroupCapture::finish(int rank, const std::optional<Error>& failure) {
  std::unique_lock lock(mutex_);
  finished_[static_cast<size_t>(rank)] = 1;
  if (failure && !failure_) {
    failure_ = failure;
    changed_.notify_all();
    ++own_aborts_;
    group_->abort(*failure);  // ranks that wait inside a collective
    for (const auto& part : parts_) part->abort(*failure);
  }
  if (all(finished_) && !done_) {
    if (failure_) {
      step_.reset();
      group_->reset();
      for (const auto& part : parts_) part->reset();
      give_up(*failure_);
    } else {
      try {
        step_->end();
        done_ = true;
        changed_.notify_all();
      } catch (const Error& error) {
        step_.reset();
        give_up(error);
      }
    }
  } else {
    wait(lock, finished_, "end", [&] { return done_; });
  }
  if (failure_) throw *failure_;
  return step_;
}

}  // namespace weft
