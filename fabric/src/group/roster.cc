// See group/roster.h.
#include "group/roster.h"

#include "fabric/report.h"

namespace fabric {

GroupRoster& GroupRoster::instance() {
  static auto* roster = new GroupRoster;
  return *roster;
}

void GroupRoster::add(const std::shared_ptr<Group>& group) {
  std::lock_guard lock(mutex_);
  std::erase_if(groups_, [](const auto& each) { return each.expired(); });
  groups_.push_back(group);
}

std::vector<std::shared_ptr<Group>> GroupRoster::all() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Group>> alive;
  for (const auto& each : groups_) {
    if (auto group = each.lock()) alive.push_back(std::move(group));
  }
  return alive;
}

std::vector<GroupReport> report_groups() {
  std::vector<GroupReport> reports;
  for (const auto& group : GroupRoster::instance().all()) reports.push_back(group->report());
  return reports;
}

}  // namespace fabric
