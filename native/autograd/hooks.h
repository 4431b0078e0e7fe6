// Lists of hooks on nodes and leaves. Any thread adds and removes at any time, also from inside a
// hook of the same list; the engine runs them.
//
// Design. A run works on the entries that are there when it begins, each kept alive by the run: one
// added meanwhile runs from the next run on, one removed meanwhile is skipped. A removed entry
// leaves the list at once, so what its function holds is freed when the last run that saw it ends.
// The list's mutex guards the entries and is not held while a hook runs.
//  - What breaks it: a hook that calls backward() on the graph it belongs to, for ever.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace weft {

/// Takes a hook off its list. Outlives the list; a default one names no hook.
class HookHandle {
 public:
  HookHandle() = default;
  /// No effect when it was removed already, or its list has ended.
  void remove() {
    if (auto entry = entry_.lock()) entry->remove();
  }

 private:
  template <typename F>
  friend class HookList;
  struct Removable {
    virtual ~Removable() = default;
    virtual void remove() = 0;
  };
  explicit HookHandle(std::weak_ptr<Removable> entry) : entry_(std::move(entry)) {}
  std::weak_ptr<Removable> entry_;
};

template <typename F>
class HookList {
 public:
  HookList() = default;
  ~HookList() { delete state_.load(std::memory_order_acquire); }
  HookList(const HookList&) = delete;
  HookList& operator=(const HookList&) = delete;

  HookHandle add(F hook) {
    std::shared_ptr<Shared>& shared = state().shared;
    auto entry = std::make_shared<Entry>(std::move(hook), shared);
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->entries.push_back(entry);
    shared->count.store(shared->entries.size(), std::memory_order_release);
    return HookHandle(entry);
  }

  bool empty() const {
    const State* state = state_.load(std::memory_order_acquire);
    return state == nullptr || state->shared->count.load(std::memory_order_acquire) == 0;
  }

  /// Calls `call(hook)` for every hook, in the order in which they were added.
  template <typename Call>
  void run(Call&& call) const {
    if (empty()) [[likely]]
      return;
    std::vector<std::shared_ptr<Entry>> now;
    {
      const auto& shared = state_.load(std::memory_order_acquire)->shared;
      std::lock_guard<std::mutex> lock(shared->mutex);
      now = shared->entries;
    }
    for (const auto& entry : now) {
      if (!entry->removed.load(std::memory_order_acquire)) call(entry->hook);
    }
  }

 private:
  struct Entry;
  struct Shared {
    std::mutex mutex;  // guards entries
    std::vector<std::shared_ptr<Entry>> entries;
    std::atomic<size_t> count{0};  // of entries, for who only asks whether there are any
  };
  struct Entry final : HookHandle::Removable {
    Entry(F f, std::weak_ptr<Shared> list) : hook(std::move(f)), list(std::move(list)) {}
    void remove() override {
      removed.store(true, std::memory_order_release);
      auto shared = list.lock();
      if (!shared) return;
      std::shared_ptr<Entry> self;  // what the hook holds is freed after the lock
      std::lock_guard<std::mutex> lock(shared->mutex);
      auto& all = shared->entries;
      auto it =
          std::find_if(all.begin(), all.end(), [&](const auto& e) { return e.get() == this; });
      if (it == all.end()) return;
      self = std::move(*it);
      all.erase(it);
      shared->count.store(all.size(), std::memory_order_release);
    }
    F hook;
    std::weak_ptr<Shared> list;
    std::atomic<bool> removed{false};
  };
  // Made by the first hook: most nodes and leaves have none.
  struct State {
    std::shared_ptr<Shared> shared = std::make_shared<Shared>();
  };
  State& state() {
    State* known = state_.load(std::memory_order_acquire);
    if (known != nullptr) return *known;
    auto made = std::make_unique<State>();
    if (state_.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
      return *made.release();
    }
    return *known;
  }

  std::atomic<State*> state_{nullptr};
};

}  // namespace weft
