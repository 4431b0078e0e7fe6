// See topology/pair_probe.h.
#include "topology/pair_probe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "fabric/error.h"

namespace fabric {
namespace {

constexpr size_t kPatternBytes = size_t{256} << 10;
constexpr size_t kSmallBytes = 64;
constexpr int kRounds = 4;
constexpr int kLaps = 5;  // of kLapRounds; the fastest counts: others may have met other work
constexpr int kLapRounds = 2;
constexpr int kSmallCopies = 64;

size_t large_bytes(const Driver& driver) {
  return driver.kind() == DriverKind::kHost ? size_t{4} << 20 : size_t{32} << 20;
}

/// All that one test needs; given back at its end unless the pair hangs.
class Bench {
 public:
  Bench(Driver& driver, int from, int to)
      : driver_(driver), from_(from), to_(to), bytes_(large_bytes(driver)) {}
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  ~Bench() {
    if (busy_) return;  // a failure in the middle: the streams may still write
    try {
      for (EventHandle event : events_) {
        if (event != nullptr) driver_.destroy_event(event);
      }
      for (EventHandle event : laps_) {
        if (event != nullptr) driver_.destroy_event(event);
      }
      if (out_ != nullptr) driver_.destroy_stream(out_);
      if (back_ != nullptr) driver_.destroy_stream(back_);
      if (here_ != nullptr) driver_.free(from_, here_, bytes_);
      if (there_ != nullptr) driver_.free(to_, there_, bytes_);
      if (pinned_ != nullptr) driver_.free_staging(pinned_, 3 * kPatternBytes);
    } catch (const Error&) {  // a lost context: the fabric is poisoned by now
    }
  }

  /// After run(): its streams are not known to have ended, so this must not be destroyed.
  bool busy() const { return busy_; }

  bool take() {
    here_ = driver_.alloc(from_, bytes_);
    there_ = driver_.alloc(to_, bytes_);
    pinned_ = static_cast<uint32_t*>(driver_.alloc_staging(3 * kPatternBytes));
    if (here_ == nullptr || there_ == nullptr || pinned_ == nullptr) return false;
    out_ = driver_.create_stream(from_, StreamPurpose::kUser, 0);
    back_ = driver_.create_stream(to_, StreamPurpose::kUser, 0);
    for (size_t i = 0; i < 4; ++i) events_[i] = driver_.create_event(from_, true);
    for (EventHandle& lap : laps_) lap = driver_.create_event(from_, true);
    events_[4] = driver_.create_event(to_, false);
    return true;
  }

  /// Writes, reads back, compares; then times. `both` adds the way back.
  PathProbe run(bool kernel, bool both, int64_t limit_ms) {
    PathProbe found;
    uint32_t* back = pinned_ + kPatternBytes / sizeof(uint32_t);
    uint32_t word = 0x9E3779B9u * static_cast<uint32_t>(from_ * 64 + to_ + (kernel ? 8192 : 1));
    for (size_t i = 0; i < kPatternBytes / sizeof(uint32_t); ++i) {
      pinned_[i] = word = word * 1664525u + 1013904223u;
    }
    uint32_t* written = back + kPatternBytes / sizeof(uint32_t);
    std::memset(back, 0, 2 * kPatternBytes);
    busy_ = true;  // until the streams are known to have ended
    driver_.copy(here_, from_, pinned_, kHostMemory, kPatternBytes, out_);
    move(kernel, true, kPatternBytes, out_);
    // What arrived, as `to` itself sees it: an error of the way there could undo itself on the way back.
    driver_.record(events_[3], out_);
    driver_.wait(back_, events_[3]);
    driver_.copy(written, kHostMemory, there_, to_, kPatternBytes, back_);
    driver_.record(events_[4], back_);
    driver_.wait(out_, events_[4]);
    driver_.fill(here_, from_, 0, kPatternBytes, out_);
    pull(kernel, kPatternBytes);
    driver_.copy(back, kHostMemory, here_, from_, kPatternBytes, out_);
    if (!ended(events_[3], limit_ms)) return {ProbeState::kHangs, 0, 0, 0};
    if (std::memcmp(pinned_, written, kPatternBytes) != 0 ||
        std::memcmp(pinned_, back, kPatternBytes) != 0) {
      busy_ = false;
      return {ProbeState::kWrong, 0, 0, 0};
    }
    move(kernel, true, bytes_, out_);  // the first large one is slower
    driver_.record(laps_[0], out_);
    for (size_t lap = 1; lap <= kLaps; ++lap) {
      for (int i = 0; i < kLapRounds; ++i) move(kernel, true, bytes_, out_);
      driver_.record(laps_[lap], out_);
    }
    driver_.record(events_[1], out_);
    for (int i = 0; i < kSmallCopies; ++i) move(kernel, true, kSmallBytes, out_);
    driver_.record(events_[2], out_);
    if (!ended(events_[3], limit_ms)) return {ProbeState::kHangs, 0, 0, 0};
    found.state = ProbeState::kWorks;
    for (size_t lap = 1; lap <= kLaps; ++lap) {
      const double gbps = rate(kLapRounds, driver_.elapsed_ms(laps_[lap - 1], laps_[lap]));
      found.gbps = std::max(found.gbps, gbps);
    }
    found.latency_us = driver_.elapsed_ms(events_[1], events_[2]) * 1e3 / kSmallCopies;
    if (both) {
      driver_.record(events_[0], out_);
      driver_.record(events_[2], out_);
      driver_.wait(back_, events_[2]);
      for (int i = 0; i < kRounds; ++i) {
        move(kernel, true, bytes_ / 2, out_);
        move(kernel, false, bytes_ / 2, back_);
      }
      driver_.record(events_[4], back_);
      driver_.wait(out_, events_[4]);
      driver_.record(events_[1], out_);
      // Late here is the other direction's doing as likely as this one's: it is only not measured.
      if (!ended(events_[3], limit_ms)) return found;
      found.both_gbps = rate(kRounds, driver_.elapsed_ms(events_[0], events_[1]));
    }
    busy_ = false;
    return found;
  }

 private:
  bool ended(EventHandle event, int64_t limit_ms) {
    driver_.record(event, out_);
    return driver_.synchronize_event(event, limit_ms);
  }
  double rate(int rounds, double ms) const {
    return ms > 0 ? static_cast<double>(bytes_) * rounds / ms / 1e6 : 0;
  }
  /// Lower halves go out, upper halves come back, so that both ways at once share no byte.
  void move(bool kernel, bool out, size_t bytes, StreamHandle stream) {
    const size_t at = out ? 0 : bytes_ / 2;
    char* dst = static_cast<char*>(out ? there_ : here_) + at;
    const char* src = static_cast<const char*>(out ? here_ : there_) + at;
    carry(kernel, dst, out ? to_ : from_, src, out ? from_ : to_, bytes, stream);
  }
  void pull(bool kernel, size_t bytes) { carry(kernel, here_, from_, there_, to_, bytes, out_); }
  void carry(bool kernel, void* dst, int dst_ordinal, const void* src, int src_ordinal,
             size_t bytes, StreamHandle stream) {
    if (kernel) {
      driver_.copy_by_kernel(dst, dst_ordinal, src, src_ordinal, bytes, stream);
    } else {
      driver_.copy(dst, dst_ordinal, src, src_ordinal, bytes, stream);
    }
  }

  Driver& driver_;
  const int from_, to_;
  const size_t bytes_;
  void* here_ = nullptr;
  void* there_ = nullptr;
  uint32_t* pinned_ = nullptr;  // the pattern, behind it what comes back and what arrived
  StreamHandle out_ = nullptr, back_ = nullptr;
  std::array<EventHandle, 5> events_{};
  std::array<EventHandle, kLaps + 1> laps_{};
  bool busy_ = false;
};

// What a pair that hangs may still write to or signal.
void keep_forever(std::unique_ptr<Bench> bench) {
  static auto* mutex = new std::mutex;
  static auto* kept = new std::vector<std::unique_ptr<Bench>>;
  std::lock_guard lock(*mutex);
  kept->push_back(std::move(bench));
}

std::string why(const PathProbe& path, const char* name, int64_t limit_ms) {
  if (path.state == ProbeState::kHangs) {
    return std::string("a test by ") + name + " was not done after " + std::to_string(limit_ms) +
           " ms";
  }
  return std::string("a pattern written and read by ") + name + " came back wrong";
}

}  // namespace

PairProbe probe_pair(Driver& driver, int from, int to, bool both, int64_t limit_ms) {
  PairProbe result;
  for (bool kernel : {false, true}) {
    auto bench = std::make_unique<Bench>(driver, from, to);
    if (!bench->take()) return result;  // untested, and used as before
    PathProbe& path = kernel ? result.kernel : result.copy;
    path = bench->run(kernel, both, limit_ms);
    if (bench->busy()) keep_forever(std::move(bench));
    if (path.state != ProbeState::kWorks) {
      result.reason = why(path, kernel ? "a kernel's loads and stores" : "copy engine", limit_ms);
      return result;
    }
  }
  return result;
}

}  // namespace fabric
