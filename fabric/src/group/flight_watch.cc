// See group/flight_watch.h.
#include "group/flight_watch.h"

#include <algorithm>
#include <optional>

namespace fabric {

FlightWatch& FlightWatch::instance() {
  static auto* watch = [] {  // leaked, as the watchdog is
    auto* made = new std::shared_ptr<FlightWatch>(std::make_shared<FlightWatch>());
    Watchdog::instance().watch(*made);
    return made;
  }();
  return **watch;
}

void FlightWatch::add(std::shared_ptr<Slot> slot) {
  const GroupState& group = slot->group();
  const auto deadline = slot->flight_deadline();
  std::shared_ptr<Slot> probe;
  {
    std::lock_guard lock(mutex_);
    Flights& flights = flights_[&group];
    flights.push_back(std::move(slot));
    if (flights.size() % kLook == 0) probe = flights[flights.size() / 2];
  }
  Watchdog::instance().arm(deadline);
  if (probe && probe->landed()) drop_landed(group, *probe);
}

void FlightWatch::drop_landed(const GroupState& group, const Slot& latest) {
  Flights dropped;  // destroyed after the lock is gone
  std::lock_guard lock(mutex_);
  auto it = flights_.find(&group);
  if (it == flights_.end()) return;
  Flights& flights = it->second;
  while (!flights.empty() && flights.front()->sequence() <= latest.sequence()) {
    dropped.push_back(std::move(flights.front()));
    flights.pop_front();
  }
}

void FlightWatch::forget_landed(const GroupState& group) {
  const Slot* latest = nullptr;
  const auto all = flights(group);
  for (auto& slot : all) {
    if (!slot->landed()) break;
    latest = slot.get();
  }
  if (latest != nullptr) drop_landed(group, *latest);
}

void FlightWatch::end(const GroupState& group, const Error& error) {
  Flights ended;
  {
    std::lock_guard lock(mutex_);
    auto it = flights_.find(&group);
    if (it == flights_.end()) return;
    ended = std::move(it->second);
    flights_.erase(it);
  }
  for (auto& slot : ended) slot->end_flight(error);
}

std::vector<std::shared_ptr<Slot>> FlightWatch::flights(const GroupState& group) {
  std::lock_guard lock(mutex_);
  auto it = flights_.find(&group);
  if (it == flights_.end()) return {};
  return {it->second.begin(), it->second.end()};
}

FlightWatch::TimePoint FlightWatch::expire(TimePoint now) {
  std::vector<std::shared_ptr<Slot>> all;
  {
    std::lock_guard lock(mutex_);
    for (auto& [group, flights] : flights_) all.insert(all.end(), flights.begin(), flights.end());
  }
  std::optional<Error> lost;
  if (poisoned()) lost = poison_error();
  TimePoint earliest = TimePoint::max();
  std::vector<const Slot*> over;
  for (auto& slot : all) {
    if (lost) slot->end_flight(*lost);
    slot->expire_flight(now);
    if (lost || now >= slot->flight_deadline() || slot->landed()) {
      over.push_back(slot.get());
    } else {
      earliest = std::min(earliest, slot->flight_deadline());
    }
  }
  std::sort(over.begin(), over.end());
  std::lock_guard lock(mutex_);  // `all` outlives it
  for (auto it = flights_.begin(); it != flights_.end();) {
    std::erase_if(it->second, [&](const auto& slot) {
      return std::binary_search(over.begin(), over.end(), slot.get());
    });
    it = it->second.empty() ? flights_.erase(it) : std::next(it);
  }
  return earliest;
}

}  // namespace fabric
