// The table of collective algorithms: who is registered, which one a call gets. Plugins register,
// tests and users force one by name, groups choose on every launch.
//
// A place in the table is never reused by another name, so that places in the event log keep their
// meaning; unregistering leaves the name alone there, and whoever still uses the algorithm shares
// it. A choice is made under a short lock; `supports` runs under it and must not call back.
// Registering logs a `plugin` event with the place; group/launch.cc logs one for each choice.
#include <atomic>
#include <memory>
#include <mutex>

#include "collective/algorithms.h"
#include "collective/choice_table.h"
#include "fabric/event_log.h"

namespace fabric {
namespace {

bool complete(const Algorithm& algorithm) {
  return !algorithm.name.empty() && algorithm.supports &&
         (algorithm.prepare != nullptr) != (algorithm.open != nullptr);
}

class Registry {
 public:
  static Registry& instance() {
    static auto* registry = new Registry;
    return *registry;
  }

  void add(const Algorithm& algorithm) {
    auto entry = std::make_shared<const Algorithm>(algorithm);
    std::lock_guard lock(mutex_);
    size_t place = place_of(algorithm.name);
    if (place < entries_.size() && entries_[place]->supports) {
      fail(ErrorCode::kUsage, "a collective algorithm called %s is registered already",
           algorithm.name.c_str());
    }
    if (place == entries_.size()) entries_.emplace_back();
    entries_[place] = std::move(entry);
    event_log::log(EventKind::kPlugin, kNoDevice, 0, kNoDevice, 0, 0, 0, place);
  }

  bool remove(const std::string& name) {
    AlgorithmPtr removed;  // its parts may unload a library: not under the lock
    auto left = std::make_shared<const Algorithm>(Algorithm{name});
    std::lock_guard lock(mutex_);
    const size_t place = place_of(name);
    if (place == entries_.size() || !entries_[place]->supports) return false;
    removed = std::exchange(entries_[place], std::move(left));
    choices_.drop(name);
    unregistrations_.fetch_add(1, std::memory_order_release);
    std::erase_if(forced_, [&](const Forced& each) { return each.name == name; });
    return true;
  }

  uint64_t unregistrations() const { return unregistrations_.load(std::memory_order_acquire); }

  std::vector<AlgorithmPtr> all() {
    std::lock_guard lock(mutex_);
    return entries_;
  }

  void force(const std::string& name, uint32_t group) {
    std::lock_guard lock(mutex_);
    if (!name.empty() && find(name) == nullptr) {
      std::string known;
      for (const auto& entry : entries_) {
        if (entry->supports) known += (known.empty() ? "" : ", ") + entry->name;
      }
      fail(ErrorCode::kUsage, "no collective algorithm is called %s; there are %s", name.c_str(),
           known.c_str());
    }
    std::erase_if(forced_, [&](const Forced& each) { return each.group == group; });
    if (name.empty()) return;
    // What is forced for one group goes before what is forced for all.
    forced_.insert(group != 0 ? forced_.begin() : forced_.end(), {group, name});
  }

  void set_measured(std::vector<Choice> lines) {
    std::lock_guard lock(mutex_);
    choices_.set_measured(std::move(lines));
  }

  void add_choices(std::vector<Choice> lines) {
    std::lock_guard lock(mutex_);
    choices_.add(std::move(lines));
  }

  Chosen choose(const CallShape& shape) {
    std::lock_guard lock(mutex_);
    Chosen chosen;
    const auto attempt = [&](const std::string& name) {
      const size_t place = place_of(name);
      if (place == entries_.size() || !entries_[place]->supports) return false;
      if (!entries_[place]->supports(shape)) return false;
      chosen = {entries_[place], place};
      return true;
    };
    for (const Forced& each : forced_) {
      if ((each.group == 0 || each.group == shape.group) && attempt(each.name)) return chosen;
    }
    choices_.walk(shape, attempt);
    return chosen;
  }

 private:
  struct Forced {
    uint32_t group;
    std::string name;
  };

  Registry() {
    for (const Algorithm& each : built_in_algorithms()) {
      entries_.push_back(std::make_shared<const Algorithm>(each));
    }
  }

  size_t place_of(const std::string& name) const {
    size_t place = 0;
    while (place < entries_.size() && entries_[place]->name != name) ++place;
    return place;
  }

  const Algorithm* find(const std::string& name) const {
    const size_t place = place_of(name);
    return place < entries_.size() && entries_[place]->supports ? entries_[place].get() : nullptr;
  }

  std::atomic<uint64_t> unregistrations_{0};
  std::mutex mutex_;  // guards what follows
  std::vector<AlgorithmPtr> entries_;
  std::vector<Forced> forced_;
  ChoiceTable choices_;
};

}  // namespace

void register_algorithm(const Algorithm& algorithm) {
  if (!complete(algorithm)) {
    fail(ErrorCode::kUsage,
         "a collective algorithm needs a name, supports, and one of prepare and open");
  }
  Registry::instance().add(algorithm);
}

bool unregister_algorithm(const std::string& name) { return Registry::instance().remove(name); }

uint64_t unregistrations() { return Registry::instance().unregistrations(); }

std::vector<AlgorithmPtr> algorithms() { return Registry::instance().all(); }

void force_algorithm(const std::string& name, uint32_t group) {
  Registry::instance().force(name, group);
}

void set_choices(std::vector<Choice> measured) {
  Registry::instance().set_measured(std::move(measured));
}

void add_choices(std::vector<Choice> lines) { Registry::instance().add_choices(std::move(lines)); }

Chosen choose_algorithm(const CallShape& shape) {
  Chosen chosen = Registry::instance().choose(shape);
  if (chosen.algorithm == nullptr) {
    fail(ErrorCode::kUsage, "no algorithm can %s %s over %d ranks with this operation%s",
         collective_name(shape.kind), dtype_name(shape.dtype), shape.ranks,
         shape.op == ReduceOp::kAvg ? "; an average needs a floating dtype" : "");
  }
  return chosen;
}

std::string chosen_algorithm(const CallShape& shape) {
  return choose_algorithm(shape).algorithm->name;
}

}  // namespace fabric
