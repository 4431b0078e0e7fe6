// The collective calls whose schedules are checked, and how one is traced: two calls one after the
// other, each between work of the ranks on its buffers. A byte of each value counts one rank, so sums
// tell whose contributions arrived how often. schedule_test.cc runs them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "collective/algorithms.h"
#include "fabric/group.h"
#include "schedule/tracing_driver.h"

namespace fabric::test {

struct ScheduleCase {
  const char* algorithm;
  CollectiveKind kind;
  int ranks;
  uint64_t count;
  bool in_place;
  bool peers;
  RingTuning tuning;  // of copy-ring
};

inline std::string name_of(const ScheduleCase& c) {
  std::string name = std::string(c.algorithm) + "_" + collective_name(c.kind) + "_" +
                     std::to_string(c.ranks) + "_ranks_" + std::to_string(c.count) +
                     (c.in_place ? "_in_place" : "") + (c.peers ? "" : "_staged") +
                     (c.tuning.overlap_bytes == 1 ? "_overlapped" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

inline int64_t schedule_input(int rank) {
  return int64_t{1} << (8 * rank);
}  // a byte counts one rank

/// The buffers of all ranks of one call.
class ScheduleBuffers {
 public:
  ScheduleBuffers(const ScheduleCase& c, const std::vector<Device*>& devices)
      : case_(c), devices_(devices) {
    const auto n = static_cast<uint64_t>(c.ranks);
    const bool all =
        c.kind == CollectiveKind::kAllToAll || c.kind == CollectiveKind::kAllToAllUneven;
    const bool gathers = c.kind == CollectiveKind::kAllGather || c.kind == CollectiveKind::kGather;
    const bool scatters =
        c.kind == CollectiveKind::kReduceScatter || c.kind == CollectiveKind::kScatter;
    in_ = c.count * (scatters || all ? n : 1);
    out_ = c.count * (gathers || all ? n : 1);
    for (int r = 0; r < c.ranks; ++r) {
      parts_.push_back(
          {std::vector<int64_t>(in_ + 1), std::vector<int64_t>(std::max(in_, out_) + 1)});
    }
  }
  char* in(int r) { return c_ptr(case_.in_place ? out_start(r, true) : parts_[r].in.data()); }
  char* out(int r) { return c_ptr(out_start(r, false)); }

  // The rank's own work before and after the call: it writes both buffers.
  void use(int r, const char* when) {
    Stream& stream = devices_[r]->compute();
    const std::string text = std::string(when) + " at rank " + std::to_string(r);
    TracingDriver& driver = TracingDriver::instance();
    if (!case_.in_place)
      driver.touch(stream, parts_[r].in.data(), in_ * 8, true, text + " of input");
    driver.touch(stream, parts_[r].out.data(), whole() * 8, true, text + " of output");
  }
  void fill() {
    for (int r = 0; r < case_.ranks; ++r) {
      auto* in = reinterpret_cast<int64_t*>(this->in(r));
      for (uint64_t i = 0; i < in_; ++i) in[i] = schedule_input(r);
      use(r, "work before the call");
    }
  }
  std::vector<CollectiveArgs> args() {
    std::vector<CollectiveArgs> all;
    for (int r = 0; r < case_.ranks; ++r) {
      CollectiveArgs args;
      args.kind = case_.kind;
      args.dtype = DType::kI64;
      args.count = case_.count;
      args.root = root();
      if (case_.kind == CollectiveKind::kAllToAllUneven) {
        args.count = in_;
        args.send_counts.assign(static_cast<size_t>(case_.ranks), case_.count);
        args.receive_counts = args.send_counts;
      }
      const bool barrier = case_.kind == CollectiveKind::kBarrier;
      args.in = barrier || !reads(r) ? nullptr : in(r);
      args.out = barrier || !writes(r) ? nullptr : out(r);
      args.stream = &devices_[r]->compute();
      all.push_back(args);
    }
    return all;
  }
  int root() const { return case_.ranks > 1 ? 1 : 0; }
  bool reads(int r) const {
    const bool by_root = case_.kind == CollectiveKind::kBroadcast ||
                         case_.kind == CollectiveKind::kScatter ||
                         case_.kind == CollectiveKind::kSendReceive;
    return !by_root || r == root();
  }
  bool writes(int r) const {
    if (case_.kind == CollectiveKind::kSendReceive) return r != root();
    const bool by_root =
        case_.kind == CollectiveKind::kReduce || case_.kind == CollectiveKind::kGather;
    return !by_root || r == root();
  }

  /// Every rank's contribution arrived once, at every element.
  void expect_each_once() {
    int64_t all = 0;
    for (int r = 0; r < case_.ranks; ++r) all += schedule_input(r);
    for (int r = 0; r < case_.ranks; ++r) {
      if (!writes(r)) continue;
      const auto* got = reinterpret_cast<const int64_t*>(out(r));
      for (uint64_t i = 0; i < out_; ++i) {
        int64_t expected = all;
        switch (case_.kind) {
          case CollectiveKind::kAllGather:
          case CollectiveKind::kGather:
          case CollectiveKind::kAllToAll:
          case CollectiveKind::kAllToAllUneven:
            expected = schedule_input(static_cast<int>(i / case_.count));
            break;
          case CollectiveKind::kBroadcast:
          case CollectiveKind::kScatter:
          case CollectiveKind::kSendReceive:
            expected = schedule_input(root());
            break;
          case CollectiveKind::kBarrier:
            return;
          default:
            break;
        }
        ASSERT_EQ(got[i], expected) << "rank " << r << ", element " << i;
      }
    }
  }

 private:
  struct Part {
    std::vector<int64_t> in, out;
  };
  static char* c_ptr(int64_t* at) { return reinterpret_cast<char*>(at); }
  uint64_t whole() const { return std::max(in_, out_); }
  // In place one of the two is a block of the other where their sizes differ.
  int64_t* out_start(int r, bool of_input) {
    const bool inner = of_input ? out_ > in_ : in_ > out_;
    return parts_[r].out.data() +
           (case_.in_place && inner ? static_cast<uint64_t>(r) * case_.count : 0);
  }

  const ScheduleCase case_;
  const std::vector<Device*>& devices_;
  uint64_t in_ = 0, out_ = 0;
  std::vector<Part> parts_;
};

/// Two calls one after the other, each between work of the ranks on its buffers.
inline std::vector<Operation> trace_of(const ScheduleCase& c) {
  TracingDriver& driver = TracingDriver::instance();
  const std::vector<Device*> devices = driver.devices(c.ranks);
  driver.set_peers(c.peers);
  ring_tuning() = c.tuning;
  force_algorithm(c.algorithm);
  auto group = Group::create(devices);
  ScheduleBuffers first(c, devices), second(c, devices);
  std::vector<std::shared_ptr<Work>> works[2];
  auto call = [&](ScheduleBuffers& buffers, int i) {
    buffers.fill();
    auto args = buffers.args();
    works[i] = group->submit_all(args);
    for (auto& work : works[i]) work->wait_launched();
    buffers.expect_each_once();
  };
  driver.start();
  call(first, 0);
  call(second, 1);
  for (int i = 0; i < 2; ++i) {
    for (int r = 0; r < c.ranks; ++r) {
      works[i][static_cast<size_t>(r)]->stream_wait(devices[r]->compute());
      ScheduleBuffers& buffers = i == 0 ? first : second;
      if (c.kind != CollectiveKind::kBarrier) {
        buffers.use(r, "work after the call");
        continue;
      }
      for (int q = 0; q < c.ranks; ++q) {  // what the others did before is there
        driver.touch(devices[r]->compute(), buffers.in(q), 8, false, "a look behind the barrier");
      }
    }
    if (c.kind == CollectiveKind::kBarrier) break;
  }
  auto trace = driver.stop();
  ring_tuning() = RingTuning();
  force_algorithm("");
  driver.set_peers(true);
  return trace;
}

inline std::vector<ScheduleCase> cases() {
  const RingTuning whole;
  const RingTuning cut{.batch_bytes = 1024, .piece_bytes = 64, .max_pieces = 2, .overlap_bytes = 1};
  std::vector<ScheduleCase> all;
  auto add = [&](const char* algorithm, CollectiveKind kind, uint64_t count, RingTuning tuning) {
    for (int ranks : {2, 3, 4}) {
      if (kind == CollectiveKind::kSendReceive && ranks != 2) continue;
      for (bool in_place : {false, true}) {
        if (in_place &&
            (kind == CollectiveKind::kSendReceive || kind == CollectiveKind::kBarrier ||
             kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllToAllUneven))
          continue;
        for (bool peers : {true, false}) {
          all.push_back({algorithm, kind, ranks, count, in_place, peers, tuning});
        }
      }
    }
  };
  for (auto kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    add("copy-ring", kind, 40, whole);
    add("copy-ring", kind, 400, cut);
  }
  for (auto kind : {CollectiveKind::kBroadcast, CollectiveKind::kReduce}) {
    add("copy-ring", kind, 40, whole);
    add("copy-ring", kind, 200'000, whole);  // several pieces
  }
  for (auto kind : {CollectiveKind::kAllReduce, CollectiveKind::kReduceScatter,
                    CollectiveKind::kBroadcast, CollectiveKind::kBarrier}) {
    add("copy-oneshot", kind, 40, whole);
  }
  for (auto kind : {CollectiveKind::kGather, CollectiveKind::kScatter, CollectiveKind::kAllToAll,
                    CollectiveKind::kAllToAllUneven, CollectiveKind::kSendReceive}) {
    add("copy-direct", kind, 40, whole);
  }
  return all;
}

}  // namespace fabric::test
