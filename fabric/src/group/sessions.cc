// See group/sessions.h.
#include "group/sessions.h"

#include <algorithm>

namespace fabric {

std::shared_ptr<AlgorithmSession> Sessions::session(const AlgorithmPtr& algorithm,
                                                    const GroupMembers& members) {
  std::vector<Open> gone;  // closed after the lock
  std::vector<std::pair<std::shared_ptr<AlgorithmSession>, uint64_t>> broken;
  std::shared_ptr<AlgorithmSession> found;
  std::optional<Error> untold;
  const std::vector<AlgorithmPtr> registered = algorithms();
  {
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < open_.size();) {
      Open& each = open_[i];
      if (std::find(registered.begin(), registered.end(), each.algorithm) == registered.end()) {
        gone.push_back(std::move(each));
        open_.erase(open_.begin() + static_cast<ptrdiff_t>(i));
        continue;
      }
      std::optional<Error> fault = each.session->fault();
      if (fault) each.session->abort();  // those that still wait for it leave too
      if (fault && !told_ && !untold && each.aborts == 0) untold = std::move(fault);
      if (each.aborts > 0 || each.session->fault()) {
        broken.emplace_back(each.session, each.aborts);
      }
      if (each.algorithm == algorithm) found = each.session;
      ++i;
    }
  }
  for (auto& [session, aborts] : broken) {
    session->recover(kLeaveMs);
    std::lock_guard lock(mutex_);
    for (Open& each : open_) {
      if (each.session == session) each.aborts -= aborts;  // those that came meanwhile stay
    }
    told_ = false;
  }
  if (untold) throw *untold;
  if (found) return found;
  found = algorithm->open(members);
  std::lock_guard lock(mutex_);
  open_.push_back({algorithm, found});
  any_.store(true, std::memory_order_release);
  return found;
}

void Sessions::abort() {
  if (!any_.load(std::memory_order_acquire)) return;
  std::lock_guard lock(mutex_);
  for (Open& each : open_) {
    ++each.aborts;
    each.session->abort();
  }
}

std::optional<Error> Sessions::fault() {
  if (!any_.load(std::memory_order_acquire)) return std::nullopt;
  std::lock_guard lock(mutex_);
  for (Open& each : open_) {
    if (auto error = each.session->fault()) {
      told_ = true;
      return error;
    }
  }
  return std::nullopt;
}

bool Sessions::faulted() {
  if (!any_.load(std::memory_order_acquire)) return false;
  std::lock_guard lock(mutex_);
  return std::any_of(open_.begin(), open_.end(),
                     [](const Open& each) { return each.session->fault().has_value(); });
}

}  // namespace fabric
