// The table of tags and each thread's current one: see fabric/event_tags.h.
#include "fabric/event_tags.h"

#include <map>
#include <mutex>

namespace fabric::event_log {
namespace {

constinit thread_local uint32_t t_tag = 0;

struct TagTable {
  std::mutex mutex;  // guards what follows
  std::map<std::string, uint32_t, std::less<>> numbers;
  std::vector<std::string> names;  // of number i + 1
};

TagTable& table() {
  static auto* instance = new TagTable;  // worker threads log until the process ends
  return *instance;
}

}  // namespace

uint32_t tag_number(std::string_view name) {
  if (name.empty()) return 0;
  TagTable& tags = table();
  std::lock_guard lock(tags.mutex);
  auto found = tags.numbers.find(name);
  if (found != tags.numbers.end()) return found->second;
  if (tags.names.size() + 1 >= kMostTags) {
    if (tags.names.size() + 1 == kMostTags) tags.names.emplace_back(kOtherTags);
    return kMostTags;
  }
  tags.names.emplace_back(name);
  const auto number = static_cast<uint32_t>(tags.names.size());
  tags.numbers.emplace(name, number);
  return number;
}

std::vector<std::string> tag_names(uint32_t known) {
  TagTable& tags = table();
  std::lock_guard lock(tags.mutex);
  if (known >= tags.names.size()) return {};
  return {tags.names.begin() + known, tags.names.end()};
}

uint32_t current_tag() { return t_tag; }

uint32_t set_current_tag(uint32_t tag) {
  const uint32_t before = t_tag;
  t_tag = tag;
  return before;
}

}  // namespace fabric::event_log
