// Is a schedule right? Happens-before over streams and event edges, computed from the operations that
// tracing_driver.h wrote down. The schedule tests call it, with and without one of the edges.
//
// Design. Every stream has a vector clock; an operation advances its stream's own entry, a record
// copies the stream's clock to the event, a wait joins the event's clock into its stream's. Two
// operations are ordered when the later one's clock knows the earlier one's entry. Two accesses of
// the same bytes, one of them a write, must be ordered; a wait needs a record before it.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "schedule/tracing_driver.h"

namespace fabric::test {

class ScheduleCheck {
 public:
  explicit ScheduleCheck(const std::vector<Operation>& trace) : trace_(trace) {
    for (const Operation& each : trace) {
      streams_.try_emplace(each.stream, streams_.size());
    }
    find_overlaps();
    for (size_t i = 0; i < trace.size(); ++i) {
      if (trace[i].kind == Operation::Kind::kWait) waits_.push_back(i);
      if (trace[i].kind == Operation::Kind::kRecord) records_.push_back(i);
    }
  }

  /// The first thing that is wrong when operation `dropped` (a wait or a record) is left out;
  /// nothing: the schedule is right.
  std::optional<std::string> fault(std::optional<size_t> dropped = {}) {
    run(dropped);
    if (!unsignalled_.empty()) return unsignalled_;
    for (const auto& [earlier, later] : overlaps_) {
      const size_t stream = streams_.at(trace_[earlier].stream);
      if (clocks_[later][stream] >= clocks_[earlier][stream]) continue;
      return trace_[earlier].text + " (operation " + std::to_string(earlier) + ") and " +
             trace_[later].text + " (operation " + std::to_string(later) +
             ") touch the same bytes in no order";
    }
    return std::nullopt;
  }

  /// Waits that order something which nothing else orders. The others change nothing.
  std::vector<size_t> edges() {
    run({});
    std::vector<size_t> all;
    for (size_t wait : waits_) {
      if (needed_[wait]) all.push_back(wait);
    }
    return all;
  }
  /// Records that one of edges() waits for.
  std::vector<size_t> signals() {
    std::vector<size_t> all;
    const std::vector<size_t> waits = edges();
    for (size_t record : records_) {
      for (size_t wait : waits) {
        if (latest_[wait] == record) {
          all.push_back(record);
          break;
        }
      }
    }
    return all;
  }
  size_t waits() const { return waits_.size(); }
  const Operation& at(size_t i) const { return trace_[i]; }
  size_t stream_number(size_t i) const { return streams_.at(trace_[i].stream); }

 private:
  using Clock = std::vector<uint32_t>;

  // Pairs of accesses that have to be ordered, by different streams.
  void find_overlaps() {
    for (size_t later = 0; later < trace_.size(); ++later) {
      for (size_t earlier = 0; earlier < later; ++earlier) {
        if (trace_[earlier].stream == trace_[later].stream) continue;
        if (conflict(trace_[earlier], trace_[later])) overlaps_.emplace_back(earlier, later);
      }
    }
  }
  static bool conflict(const Operation& a, const Operation& b) {
    for (const Access& x : a.accesses) {
      for (const Access& y : b.accesses) {
        const bool apart = x.begin + x.bytes <= y.begin || y.begin + y.bytes <= x.begin;
        if (!apart && (x.writes || y.writes)) return true;
      }
    }
    return false;
  }

  void run(std::optional<size_t> dropped) {
    const size_t n = streams_.size();
    std::vector<Clock> streams(n, Clock(n, 0));
    std::map<const void*, std::pair<size_t, Clock>> events;
    clocks_.assign(trace_.size(), {});
    needed_.assign(trace_.size(), false);
    latest_.assign(trace_.size(), ~size_t{0});
    unsignalled_.clear();
    for (size_t i = 0; i < trace_.size(); ++i) {
      const Operation& each = trace_[i];
      if (dropped == i) {  // a wait for a signal that was left out orders nothing
        if (each.kind == Operation::Kind::kRecord) events[each.event] = {};
        continue;
      }
      const size_t own = streams_.at(each.stream);
      Clock& clock = streams[own];
      ++clock[own];
      if (each.kind == Operation::Kind::kRecord) events[each.event] = {i, clock};
      if (each.kind == Operation::Kind::kWait) {
        auto found = events.find(each.event);
        if (found == events.end()) {
          if (unsignalled_.empty())
            unsignalled_ =
                "operation " + std::to_string(i) + " waits for an event that nothing records";
        } else {
          latest_[i] = found->second.first;
          const Clock& signal = found->second.second;
          for (size_t s = 0; s < signal.size(); ++s) {
            if (signal[s] <= clock[s]) continue;
            clock[s] = signal[s];
            needed_[i] = true;
          }
        }
      }
      clocks_[i] = clock;
    }
  }

  const std::vector<Operation>& trace_;
  std::map<const void*, size_t> streams_;
  std::vector<std::pair<size_t, size_t>> overlaps_;
  std::vector<size_t> waits_, records_;
  std::vector<Clock> clocks_;
  std::vector<bool> needed_;
  std::vector<size_t> latest_;  // of a wait: the record that it waits for
  std::string unsignalled_;
};

}  // namespace fabric::test
