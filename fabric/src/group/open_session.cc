// See group/open_session.h.
#include "group/open_session.h"

#include <utility>

namespace fabric {

OpenSession::OpenSession(AlgorithmPtr algorithm, const GroupMembers& members)
    : algorithm_(std::move(algorithm)), session_(algorithm_->open(members)) {}

void OpenSession::abort() {
  aborts_.fetch_add(1);
  session_->abort();
}

std::optional<Error> OpenSession::fault(bool told) {
  std::optional<Error> error = session_->fault();
  if (error && told) told_.store(true);
  return error;
}

void OpenSession::make_ready() {
  std::lock_guard lock(recovering_);
  const std::optional<Error> fault = session_->fault();
  const uint64_t aborts = aborts_.load();
  if (!fault && aborts == 0) return;
  if (fault) session_->abort();  // those that still wait for it leave too
  session_->recover(kLeaveMs);
  aborts_.fetch_sub(aborts);
  const bool told = told_.exchange(false);
  if (fault && !told && aborts == 0) throw *fault;
}

}  // namespace fabric
