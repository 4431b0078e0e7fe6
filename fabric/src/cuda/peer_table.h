// What is known of each pair of GPUs: whether one reaches the other's memory, by a test, and how
// fast. CudaDriver::enable_peer() fills it, measured_gbps() reads it.
//
// Design. A pair is tested once and the verdict is kept: it works, or it is not to be used. Only a
// test that memory was too short for is tried again, at the earliest after kAgain, so that a full
// GPU is not asked on every copy; until it ran, the pair is not trusted. Tests run one at a time
// under testing(); the verdicts have a mutex of their own, held for a look.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

namespace fabric::cuda {

struct PeerVerdict {
  enum class State { kUnknown, kWorks, kBroken, kUntested };
  State state = State::kUnknown;
  double gbps = 0;     ///< of a pair that works, 0 when it was not timed
  std::string reason;  ///< why it is not used
  std::chrono::steady_clock::time_point at{};
};

class PeerTable {
 public:
  static constexpr std::chrono::seconds kAgain{1};

  explicit PeerTable(int devices)
      : devices_(devices), verdicts_(static_cast<size_t>(devices) * static_cast<size_t>(devices)) {}

  std::mutex& testing() { return testing_; }
  PeerVerdict find(int from, int to) {
    std::lock_guard lock(mutex_);
    return verdicts_[slot(from, to)];
  }
  void set(int from, int to, PeerVerdict verdict) {
    verdict.at = std::chrono::steady_clock::now();
    std::lock_guard lock(mutex_);
    verdicts_[slot(from, to)] = std::move(verdict);
  }
  /// The pair must be tested (again) before it is used.
  static bool due(const PeerVerdict& verdict) {
    using State = PeerVerdict::State;
    return verdict.state == State::kUnknown ||
           (verdict.state == State::kUntested &&
            std::chrono::steady_clock::now() - verdict.at >= kAgain);
  }

 private:
  size_t slot(int from, int to) const {
    return static_cast<size_t>(from) * static_cast<size_t>(devices_) + static_cast<size_t>(to);
  }

  const int devices_;
  std::mutex testing_;
  std::mutex mutex_;  // guards verdicts_
  std::vector<PeerVerdict> verdicts_;
};

}  // namespace fabric::cuda
