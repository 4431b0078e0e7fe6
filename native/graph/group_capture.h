// One capture by all ranks of a group, each in the thread that drives its device. Used by the
// trainer's workers through the binding, once a run.
//
// Design. Ranks meet in join(): the last one begins the capture over all devices, so that no rank
// still enqueues uncaptured work. Then they enqueue by turns, in rank order (enter and leave, as
// often as all ranks do), because a capture is one growing graph; between turns they may wait for
// each other, for example in Reducer::finish(). They meet again in finish(): the last one ends the
// capture, and every rank gets the same step, or the same error.
//  - Who signals: everything under one mutex and one condition variable.
//  - Calls may be of groups of some of the ranks as well, which the ranks name in join(). Where ranks
//    meet is the group of all.
//  - A rank that fails says so in finish(): the open calls of all these groups are failed, so that nobody waits
//    for that rank, ranks that wait for their turn get the error, and once all have come the last
//    one drops the capture and resets the groups, which then work as before.
//  - Every wait ends at the time limit with CollectiveTimeoutError naming the missing ranks, or
//    soon after Group::abort with its error; the capture is dropped then.
//  - What breaks it: a rank that calls enter() more often than another.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fabric/group.h"
#include "graph/step_graph.h"

namespace weft {

class GroupCapture {
 public:
  /// Arrives for `rank`; BLOCKS until all ranks have. `parts`: groups of some of the ranks in which
  /// this one makes calls of the capture too.
  static std::shared_ptr<GroupCapture> join(
      std::shared_ptr<fabric::Group> group, int rank, int64_t timeout_ms,
      const std::vector<std::shared_ptr<fabric::Group>>& parts = {});
  GroupCapture(std::shared_ptr<fabric::Group> group, int64_t timeout_ms);

  /// BLOCKS until it is this rank's turn. Throws the error of a rank that failed.
  void enter(int rank);
  void leave(int rank);
  /// Arrives at the end, with the reason when this rank failed; BLOCKS until all ranks have. Throws
  /// the first failure.
  std::shared_ptr<StepGraph> finish(int rank, const std::optional<Error>& failure);

 private:
  template <typename Ready>
  void wait(std::unique_lock<std::mutex>& lock, const std::vector<char>& arrived, const char* what,
            Ready ready);
  void give_up(const Error& error);
  void add_parts(const std::vector<std::shared_ptr<fabric::Group>>& parts);

  const std::shared_ptr<fabric::Group> group_;
  const int64_t timeout_ms_;
  const uint64_t aborts_before_;
  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::vector<char> joined_, finished_;                // by rank
  std::vector<std::shared_ptr<fabric::Group>> parts_;  // each once
  uint64_t own_aborts_ = 0;
  bool begun_ = false;
  uint64_t turn_ = 0;
  std::shared_ptr<StepGraph> step_;
  std::optional<Error> failure_;
  bool done_ = false;
};

}  // namespace weft
