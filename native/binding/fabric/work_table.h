// Collective calls that JavaScript refers to by number, one table an environment. group.cc adds,
// work.cc looks up.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "fabric/group.h"

namespace weft::binding {

/// One submit: one work a rank for submit_all, else one.
struct WorkEntry {
  std::vector<std::shared_ptr<fabric::Work>> works;
  std::vector<Device*> devices;  ///< by work
  std::optional<Error> refused;  ///< why there are no works
  uint32_t group = 0;            ///< of submit_all: its calls end in their order
};

class WorkTable {
 public:
  uint32_t add(WorkEntry entry);
  /// A number whose works come later, by fill(), or never, by refuse(); who asks before gets `early`.
  uint32_t reserve(Error early) { return add({{}, {}, std::move(early)}); }
  void fill(uint32_t id, WorkEntry entry) { entries_[id] = std::move(entry); }
  void refuse(uint32_t id, Error why) { entries_[id] = {{}, {}, std::move(why)}; }
  /// nullptr when it was released, or done and forgotten. Throws why there are no works.
  const WorkEntry* find(uint32_t id) const;
  /// Throws UsageError when it is not there.
  const WorkEntry& get(uint32_t id) const;
  void release(uint32_t id) { entries_.erase(id); }
  void clear();

 private:
  /// Forgets finished works beyond the latest kKept, a batch at a time, so that nobody has to release
  /// them.
  void prune();

  static constexpr size_t kKept = 1024, kBatch = 64;
  uint32_t next_ = 1;
  std::unordered_map<uint32_t, WorkEntry> entries_;
  std::deque<uint32_t> order_;
};

}  // namespace weft::binding
