// An algorithm opened for a group, and whether it may be used. Sessions (of the group) and graphs with
// captured calls own it together: each makes it ready before a call or a run.
//
// Design. abort() and fault() come from any thread. make_ready() does nothing while neither has
// happened; else it waits, bounded, until nothing of the group runs, and recovers. One mutex lets one
// thread recover; aborts that come meanwhile are counted and recovered the next time. A fault that no
// caller has been told (nobody asked for a result, nobody aborted) fails that call or run; the one
// after it runs.
//  - What breaks it: a graph that is launched by another thread between recover()'s wait and its end.
//    Its work then misses flags, and leaves at its deadline.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "fabric/algorithm.h"
#include "fabric/capture_state.h"

namespace fabric {

class OpenSession final : public CapturedNeed {
 public:
  /// Limit for work that was told to leave.
  static constexpr int64_t kLeaveMs = 10'000;

  /// Opens `algorithm`, which has `open`.
  OpenSession(AlgorithmPtr algorithm, const GroupMembers& members);

  const AlgorithmPtr& algorithm() const { return algorithm_; }
  AlgorithmSession& session() { return *session_; }
  /// Tells its work to leave.
  void abort();
  /// What its work has reported. `told`: somebody hears of it.
  std::optional<Error> fault(bool told);
  /// Throws the fault that nobody was told, and what recovering throws.
  void make_ready();
  void before_run() override { make_ready(); }

 private:
  const AlgorithmPtr algorithm_;
  const std::unique_ptr<AlgorithmSession> session_;
  std::atomic<uint64_t> aborts_{0};  // since it was last recovered
  std::atomic<bool> told_{false};    // the present fault
  std::mutex recovering_;
};

}  // namespace fabric
