// Names that a program gives to what it enqueues: each record of the event log carries the tag of
// the thread that logged it. Bindings set it; the backward engine hands the caller's to its workers.
//
// A tag is a number of the process-wide table of names; 0: none. The table only grows, under a
// mutex that only new names and readers of names take: append() reads one thread-local word.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fabric::event_log {

/// Names that the table holds; all further ones share the last number.
inline constexpr uint32_t kMostTags = 4096;
inline constexpr std::string_view kOtherTags = "(other tags)";

/// Number of `name`, the same in every thread; 0 for "".
uint32_t tag_number(std::string_view name);
/// Names of the numbers above `known`, in order: the first is that of `known` + 1.
std::vector<std::string> tag_names(uint32_t known = 0);

/// Tag of what this thread logs.
uint32_t current_tag();
/// Returns the one before.
uint32_t set_current_tag(uint32_t tag);

/// Sets this thread's tag for a block.
class TagScope {
 public:
  explicit TagScope(uint32_t tag) : before_(set_current_tag(tag)) {}
  ~TagScope() { set_current_tag(before_); }
  TagScope(const TagScope&) = delete;
  TagScope& operator=(const TagScope&) = delete;

 private:
  uint32_t before_;
};

}  // namespace fabric::event_log
