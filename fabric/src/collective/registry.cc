// The table of collective algorithms: who is registered, which one a call gets. Plugins register,
// tests and users force one by name, groups choose on every launch.
//
// Entries are never removed or moved, so a pointer taken once stays good and a choice is made under
// a short lock. The table lists, for each kind and up to a size, who goes first; the first entry
// that is registered and supports the call wins. Registering logs a
// `plugin` event with the entry's position; group/launch.cc logs one for each choice.
#include <atomic>
#include <iterator>
#include <memory>
#include <mutex>

#include "collective/algorithms.h"
#include "fabric/event_log.h"

namespace fabric {
namespace {

struct Choice {
  CollectiveKind kind;
  int max_ranks;
  uint64_t max_bytes;
  const char* name;
};

constexpr uint64_t kAnySize = ~uint64_t{0};
constexpr int kAnyRanks = 1 << 16;

constexpr Choice kTable[] = {
    {CollectiveKind::kBarrier, kAnyRanks, kAnySize, "copy-oneshot"},
    {CollectiveKind::kAllReduce, kAnyRanks, kOneshotBytes, "copy-oneshot"},
    {CollectiveKind::kBroadcast, kAnyRanks, kOneshotBytes, "copy-oneshot"},
    {CollectiveKind::kAllReduce, kAnyRanks, kAnySize, "copy-ring"},
    {CollectiveKind::kBroadcast, kAnyRanks, kAnySize, "copy-ring"},
    {CollectiveKind::kAllGather, kAnyRanks, kAnySize, "copy-ring"},
    {CollectiveKind::kReduceScatter, kAnyRanks, kAnySize, "copy-ring"},
    {CollectiveKind::kReduce, kAnyRanks, kAnySize, "copy-ring"},
    {CollectiveKind::kGather, kAnyRanks, kAnySize, "copy-direct"},
    {CollectiveKind::kScatter, kAnyRanks, kAnySize, "copy-direct"},
    {CollectiveKind::kAllToAll, kAnyRanks, kAnySize, "copy-direct"},
    {CollectiveKind::kSendReceive, 2, kAnySize, "copy-direct"},
    {CollectiveKind::kAllToAllUneven, kAnyRanks, kAnySize, "copy-direct"},
};

class Registry {
 public:
  static Registry& instance() {
    static auto* registry = new Registry;
    return *registry;
  }

  void add(const Algorithm& algorithm) {
    std::lock_guard lock(mutex_);
    if (find(algorithm.name) != nullptr) {
      fail(ErrorCode::kUsage, "a collective algorithm called %s is registered already",
           algorithm.name.c_str());
    }
    entries_.push_back(std::make_unique<const Algorithm>(algorithm));
    event_log::log(EventKind::kPlugin, kNoDevice, 0, kNoDevice, 0, 0, 0, entries_.size() - 1);
  }

  std::vector<const Algorithm*> all() {
    std::lock_guard lock(mutex_);
    std::vector<const Algorithm*> list;
    for (const auto& entry : entries_) list.push_back(entry.get());
    return list;
  }

  void force(const std::string& name) {
    std::lock_guard lock(mutex_);
    if (name.empty()) {
      forced_ = nullptr;
      return;
    }
    const Algorithm* found = find(name);
    if (found == nullptr) {
      std::string known;
      for (const auto& entry : entries_) known += (known.empty() ? "" : ", ") + entry->name;
      fail(ErrorCode::kUsage, "no collective algorithm is called %s; there are %s", name.c_str(),
           known.c_str());
    }
    forced_ = found;
  }

  const Algorithm* choose(CollectiveKind kind, ReduceOp op, DType dtype, int ranks,
                          uint64_t bytes) {
    std::lock_guard lock(mutex_);
    if (forced_ != nullptr && forced_->supports(kind, op, dtype, ranks)) return forced_;
    for (const Choice& choice : kTable) {
      if (choice.kind != kind || ranks > choice.max_ranks || bytes > choice.max_bytes) continue;
      const Algorithm* found = find(choice.name);
      if (found != nullptr && found->supports(kind, op, dtype, ranks)) return found;
    }
    return nullptr;
  }

  uint64_t index_of(const Algorithm& algorithm) {
    std::lock_guard lock(mutex_);
    uint64_t index = 0;
    while (index < entries_.size() && entries_[index].get() != &algorithm) ++index;
    return index;
  }

 private:
  Registry() {
    entries_.push_back(std::make_unique<const Algorithm>(copy_ring_algorithm()));
    entries_.push_back(std::make_unique<const Algorithm>(copy_oneshot_algorithm()));
    entries_.push_back(std::make_unique<const Algorithm>(copy_direct_algorithm()));
  }

  const Algorithm* find(const std::string& name) const {
    for (const auto& entry : entries_) {
      if (entry->name == name) return entry.get();
    }
    return nullptr;
  }

  std::mutex mutex_;  // guards what follows
  std::vector<std::unique_ptr<const Algorithm>> entries_;
  const Algorithm* forced_ = nullptr;
};

}  // namespace

void register_algorithm(const Algorithm& algorithm) {
  if (algorithm.name.empty() || algorithm.supports == nullptr || algorithm.prepare == nullptr) {
    fail(ErrorCode::kUsage, "a collective algorithm needs a name, supports and prepare");
  }
  Registry::instance().add(algorithm);
}

std::vector<const Algorithm*> algorithms() { return Registry::instance().all(); }

void force_algorithm(const std::string& name) { Registry::instance().force(name); }

const Algorithm& choose_algorithm(CollectiveKind kind, ReduceOp op, DType dtype, int ranks,
                                  uint64_t bytes) {
  const Algorithm* found = Registry::instance().choose(kind, op, dtype, ranks, bytes);
  if (found == nullptr) {
    fail(ErrorCode::kUsage, "no algorithm can %s %s over %d ranks with this operation%s",
         collective_name(kind), dtype_name(dtype), ranks,
         op == ReduceOp::kAvg ? "; an average needs a floating dtype" : "");
  }
  return *found;
}

uint64_t algorithm_index(const Algorithm& algorithm) {
  return Registry::instance().index_of(algorithm);
}

}  // namespace fabric
