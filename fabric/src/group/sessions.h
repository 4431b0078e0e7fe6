// The algorithms that a group has opened. group/launch.cc asks for the one of a call; slots ask for
// faults; abort and deadlines tell all of them to leave.
//
// Design. One a group, kept by GroupState: slots of launched calls outlive the group with it.
//  - ready() is called by the thread that holds the group's turn, one at a time. It drops sessions of
//    algorithms that were unregistered and makes the others ready (group/open_session.h), so kernels
//    that left early never meet those of a new call.
//  - abort(), fault(), faulted(): any thread; mutex_ guards the list.
//  - A fault ends all calls of the group that are under way, also earlier ones whose result was there
//    but not yet looked at.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "group/open_session.h"

namespace fabric {

class Sessions {
 public:
  /// The session of `algorithm`, which has `open`: opened on the first call. Throws what opening and
  /// make_ready() throw.
  std::shared_ptr<OpenSession> ready(const AlgorithmPtr& algorithm, const GroupMembers& members);
  /// Tells all work of the group's sessions to leave.
  void abort();
  /// The first fault that work of a session has reported; whoever calls it tells somebody.
  std::optional<Error> fault();
  bool faulted();

 private:
  std::optional<Error> find_fault(bool told);

  std::atomic<bool> any_{false};  // something is open: spares calls of other groups the lock
  uint64_t unregistered_ = 0;     // unregistrations() when the list was last cleared of those
  std::mutex mutex_;              // guards open_
  std::vector<std::shared_ptr<OpenSession>> open_;
};

}  // namespace fabric
