// All groups of the process, pairs too, for reports. Group::create and Group::pair add to it;
// report_groups() asks each.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "fabric/group.h"

namespace fabric {

class GroupRoster {
 public:
  static GroupRoster& instance();
  void add(const std::shared_ptr<Group>& group);
  std::vector<std::shared_ptr<Group>> all();

 private:
  std::mutex mutex_;  // guards groups_
  std::vector<std::weak_ptr<Group>> groups_;
};

}  // namespace fabric
