// See group/sessions.h.
#include "group/sessions.h"

#include <algorithm>
#include <utility>

#include "collective/algorithms.h"

namespace fabric {

std::shared_ptr<OpenSession> Sessions::ready(const AlgorithmPtr& algorithm,
                                             const GroupMembers& members) {
  std::vector<std::shared_ptr<OpenSession>> present, gone;  // `gone` is closed under no lock
  const uint64_t unregistered = unregistrations();
  const bool look = std::exchange(unregistered_, unregistered) != unregistered;
  const std::vector<AlgorithmPtr> registered = look ? algorithms() : std::vector<AlgorithmPtr>{};
  {
    std::lock_guard lock(mutex_);
    if (look) {
      const auto first_gone = std::stable_partition(open_.begin(), open_.end(), [&](auto& each) {
        return std::ranges::find(registered, each->algorithm()) != registered.end();
      });
      gone.assign(std::make_move_iterator(first_gone), std::make_move_iterator(open_.end()));
      open_.erase(first_gone, open_.end());
    }
    present = open_;
  }
  for (auto& each : present) each->make_ready();
  for (auto& each : present) {
    if (each->algorithm() == algorithm) return each;
  }
  auto opened = std::make_shared<OpenSession>(algorithm, members);
  std::lock_guard lock(mutex_);
  open_.push_back(opened);
  any_.store(true, std::memory_order_release);
  return opened;
}

void Sessions::abort() {
  if (!any_.load(std::memory_order_acquire)) return;
  std::lock_guard lock(mutex_);
  for (auto& each : open_) each->abort();
}

std::optional<Error> Sessions::fault() { return find_fault(true); }

bool Sessions::faulted() { return find_fault(false).has_value(); }

std::optional<Error> Sessions::find_fault(bool told) {
  if (!any_.load(std::memory_order_acquire)) return std::nullopt;
  std::lock_guard lock(mutex_);
  for (auto& each : open_) {
    if (auto error = each->fault(told)) return error;
  }
  return std::nullopt;
}

}  // namespace fabric
