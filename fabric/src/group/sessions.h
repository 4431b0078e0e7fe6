// The algorithms that a group has opened. group/launch.cc asks for the session of the algorithm that
// it chose; slots ask for faults; abort and deadlines tell all sessions to leave.
//
// Design. One a group, kept by GroupState: slots of launched calls outlive the group with it.
//  - session() is called by the thread that holds the group's turn, one at a time. It opens what is
//    not open and drops sessions of algorithms that were unregistered.
//  - abort(), fault(): any thread; mutex_ guards the list, a session guards itself.
//  - After abort() or a fault the next session() recovers first: it waits, bounded, until nothing of
//    the group runs. So kernels that left early never meet those of a new call. A fault that no
//    caller has been told (nobody asked for a result, nobody aborted) fails that call; the one after
//    it runs.
//  - A fault ends all calls of the group that are under way, also earlier ones whose result was there
//    but not yet looked at.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "fabric/algorithm.h"

namespace fabric {

class Sessions {
 public:
  /// Limit for work that was told to leave.
  static constexpr int64_t kLeaveMs = 10'000;

  /// The session of `algorithm`, which has `open`. Throws what opening or recovering throws.
  std::shared_ptr<AlgorithmSession> session(const AlgorithmPtr& algorithm,
                                            const GroupMembers& members);
  /// Tells all work of the group's sessions to leave.
  void abort();
  /// The first fault that work of a session has reported; whoever calls it tells somebody.
  std::optional<Error> fault();
  bool faulted();

 private:
  struct Open {
    AlgorithmPtr algorithm;
    std::shared_ptr<AlgorithmSession> session;
    uint64_t aborts = 0;  ///< since it was last recovered
  };
  std::atomic<bool> any_{false};  // something is open: spares calls of other groups the lock
  std::mutex mutex_;              // guards what follows
  std::vector<Open> open_;
  bool told_ = false;  // the present fault
};

}  // namespace fabric
