// The launched calls of all groups that are not known to be done: their deadlines, aborts and lost
// devices. group.cc adds every launched call.
//
// Design. One list a group, oldest first. Calls of a group pass in order, since its launches are
// ordered and a comm stream is a FIFO: when one has landed so have those before it. So adding asks
// one call in kLook whether it has landed, and usually drops half of the list; nothing else is done
// for a call that goes well. The watchdog's thread looks at the earliest deadline and when the
// fabric is poisoned.
//  - Lock order: no slot is asked, failed or destroyed under the mutex.
//  - What breaks it: nothing waits for a call to leave the list; up to 2 * kLook finished calls of a
//    group stay with their events until its next call or their deadline.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "group/slot.h"
#include "runtime/watchdog.h"

namespace fabric {

class FlightWatch final : public Watched {
 public:
  static FlightWatch& instance();

  void add(std::shared_ptr<Slot> slot);
  /// Ends the launched calls of `group`.
  void end(const GroupState& group, const Error& error);
  /// Lets go of those calls of `group` that are over.
  void forget_landed(const GroupState& group);
  TimePoint expire(TimePoint now) override;
  /// The launched calls of `group` that may be under way, oldest first.
  std::vector<std::shared_ptr<Slot>> flights(const GroupState& group);

 private:
  static constexpr size_t kLook = 32;
  using Flights = std::deque<std::shared_ptr<Slot>>;

  void drop_landed(const GroupState& group, const Slot& latest);

  std::mutex mutex_;  // guards flights_
  std::unordered_map<const GroupState*, Flights> flights_;
};

}  // namespace fabric
