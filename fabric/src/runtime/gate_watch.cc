// See runtime/gate_watch.h.
#include "runtime/gate_watch.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "fabric/fabric.h"
#include "runtime/watchdog.h"

namespace fabric {
namespace {

class GateWatch final : public Watched {
 public:
  /// Registered with the watchdog at the first call; leaked, as the watchdog is.
  static GateWatch& instance() {
    static auto* watch = [] {
      auto* made = new std::shared_ptr<GateWatch>(std::make_shared<GateWatch>());
      Watchdog::instance().watch(*made);
      return made;
    }();
    return **watch;
  }

  void add(const std::shared_ptr<Gate>& gate, std::string what, std::chrono::milliseconds limit) {
    const TimePoint deadline = std::chrono::steady_clock::now() + limit;
    {
      std::lock_guard lock(mutex_);
      forget_passed();
      shut_.emplace(deadline, Entry{gate, std::move(what), limit});
    }
    Watchdog::instance().arm(deadline);
  }

  TimePoint expire(TimePoint now) override {
    std::vector<std::pair<std::shared_ptr<Gate>, std::string>> late;
    TimePoint next = TimePoint::max();
    {
      std::lock_guard lock(mutex_);
      while (!shut_.empty() && shut_.begin()->first <= now) {
        Entry& entry = shut_.begin()->second;
        if (auto gate = entry.gate.lock()) {
          late.emplace_back(std::move(gate), entry.what + " waited " +
                                                 std::to_string(entry.limit.count()) +
                                                 " ms for work of another driver that did not end");
        }
        shut_.erase(shut_.begin());
      }
      forget_passed();
      if (!shut_.empty()) next = shut_.begin()->first;
    }
    for (auto& [gate, reason] : late) {
      if (gate->wait(std::chrono::milliseconds(0))) continue;
      poison(reason);  // before anything that was held can run
      gate->open();
    }
    return next;
  }

 private:
  struct Entry {
    std::weak_ptr<Gate> gate;
    std::string what;
    std::chrono::milliseconds limit;
  };
  /// Caller holds mutex_.
  void forget_passed() {
    while (!shut_.empty() && shut_.begin()->second.gate.expired()) shut_.erase(shut_.begin());
  }

  std::mutex mutex_;  // guards shut_; never held while a gate is opened
  std::multimap<TimePoint, Entry> shut_;
};

}  // namespace

std::shared_ptr<Gate> gate_behind(Stream& earlier, Stream& later) {
  auto gate = std::make_shared<Gate>();
  watch_gate(gate, "stream " + std::to_string(later.id()) + " of " + later.device().name());
  earlier.device().driver().notify(earlier.handle(), [gate] { gate->open(); });
  return gate;
}

void watch_gate(const std::shared_ptr<Gate>& gate, std::string what,
                std::chrono::milliseconds limit) {
  GateWatch::instance().add(gate, std::move(what), limit);
}

}  // namespace fabric
