// The schedule of every collective by every algorithm, and of the copy between two devices: no two
// accesses of the same bytes without an order, no wait without its signal, every contribution once.
// Then each edge in turn is left out, and each signal: the check has to notice, for every place in the
// code that makes one.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "collective/algorithms.h"
#include "fabric/group.h"
#include "schedule/schedule_check.h"

namespace fabric {
namespace {

using test::ScheduleCheck;
using test::TracingDriver;

struct Case {
  const char* algorithm;
  CollectiveKind kind;
  int ranks;
  uint64_t count;
  bool in_place;
  bool peers;
  RingTuning tuning;  // of copy-ring
};

std::string name_of(const Case& c) {
  std::string name = std::string(c.algorithm) + "_" + collective_name(c.kind) + "_" +
                     std::to_string(c.ranks) + "_ranks_" + std::to_string(c.count) +
                     (c.in_place ? "_in_place" : "") + (c.peers ? "" : "_staged") +
                     (c.tuning.overlap_bytes == 1 ? "_overlapped" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

int64_t input_value(int rank) { return int64_t{1} << (8 * rank); }  // a byte counts one rank

/// The buffers of all ranks of one call.
class Buffers {
 public:
  Buffers(const Case& c, const std::vector<Device*>& devices) : case_(c), devices_(devices) {
    const auto n = static_cast<uint64_t>(c.ranks);
    const bool all = c.kind == CollectiveKind::kAllToAll;
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
      for (uint64_t i = 0; i < in_; ++i) in[i] = input_value(r);
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
    for (int r = 0; r < case_.ranks; ++r) all += input_value(r);
    for (int r = 0; r < case_.ranks; ++r) {
      if (!writes(r)) continue;
      const auto* got = reinterpret_cast<const int64_t*>(out(r));
      for (uint64_t i = 0; i < out_; ++i) {
        int64_t expected = all;
        switch (case_.kind) {
          case CollectiveKind::kAllGather:
          case CollectiveKind::kGather:
          case CollectiveKind::kAllToAll:
            expected = input_value(static_cast<int>(i / case_.count));
            break;
          case CollectiveKind::kBroadcast:
          case CollectiveKind::kScatter:
          case CollectiveKind::kSendReceive:
            expected = input_value(root());
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

  const Case case_;
  const std::vector<Device*>& devices_;
  uint64_t in_ = 0, out_ = 0;
  std::vector<Part> parts_;
};

/// Two calls one after the other, each between work of the ranks on its buffers.
std::vector<test::Operation> trace_of(const Case& c) {
  TracingDriver& driver = TracingDriver::instance();
  const std::vector<Device*> devices = driver.devices(c.ranks);
  driver.set_peers(c.peers);
  ring_tuning() = c.tuning;
  force_algorithm(c.algorithm);
  auto group = Group::create(devices);
  Buffers first(c, devices), second(c, devices);
  std::vector<std::shared_ptr<Work>> works[2];
  auto call = [&](Buffers& buffers, int i) {
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
      Buffers& buffers = i == 0 ? first : second;
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

/// For each place in the code that makes an edge, or its signal: how often an edge of it was left out
/// and how often that was noticed.
class Places {
 public:
  void leave_out_each(const std::vector<test::Operation>& trace, const std::string& name) {
    ScheduleCheck check(trace);
    ASSERT_FALSE(check.fault()) << name;
    for (size_t edge : check.edges()) count(check, edge, name);
    for (size_t signal : check.signals()) count(check, signal, name);
  }
  void expect_all_noticed(size_t at_least) const {
    EXPECT_GE(places_.size(), at_least);
    for (const auto& [place, seen] : places_) {
      EXPECT_GT(seen.noticed, 0) << "nobody notices when the " << seen.text << " at "
                                 << shown(place) << " is left out; it ran " << seen.times
                                 << " times, first in " << seen.first;
    }
  }

 private:
  // For addr2line -e fabric_tests.
  static std::string shown(const test::Place& place) {
    std::string text;
    for (void* address : place) {
      Dl_info info{};
      dladdr(address, &info);
      char line[32];
      std::snprintf(
          line, sizeof line, "%s+0x%zx", text.empty() ? "" : ", called from ",
          static_cast<size_t>(static_cast<char*>(address) - static_cast<char*>(info.dli_fbase)));
      text += line;
    }
    return text;
  }
  struct Seen {
    int times = 0, noticed = 0;
    std::string text, first;
  };
  void count(ScheduleCheck& check, size_t i, const std::string& name) {
    Seen& seen = places_[check.at(i).place];
    if (seen.times++ == 0) seen = {1, 0, check.at(i).text, name};
    seen.noticed += check.fault(i).has_value();
  }

  std::map<test::Place, Seen> places_;
};

class Schedule : public ::testing::TestWithParam<Case> {};

TEST_P(Schedule, OrdersEveryTwoAccessesAndEachContributionArrivesOnce) {
  const auto trace = trace_of(GetParam());
  const auto fault = ScheduleCheck(trace).fault();
  EXPECT_FALSE(fault) << *fault;
}

std::vector<Case> cases() {
  const RingTuning whole;
  const RingTuning cut{.batch_bytes = 1024, .piece_bytes = 64, .max_pieces = 2, .overlap_bytes = 1};
  std::vector<Case> all;
  auto add = [&](const char* algorithm, CollectiveKind kind, uint64_t count, RingTuning tuning) {
    for (int ranks : {2, 3, 4}) {
      if (kind == CollectiveKind::kSendReceive && ranks != 2) continue;
      for (bool in_place : {false, true}) {
        if (in_place && (kind == CollectiveKind::kSendReceive || kind == CollectiveKind::kBarrier ||
                         kind == CollectiveKind::kReduceScatter))
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
  for (auto kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kBroadcast, CollectiveKind::kBarrier}) {
    add("copy-oneshot", kind, 40, whole);
  }
  for (auto kind : {CollectiveKind::kGather, CollectiveKind::kScatter, CollectiveKind::kAllToAll,
                    CollectiveKind::kSendReceive}) {
    add("copy-direct", kind, 40, whole);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(OfEveryCollective, Schedule, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return name_of(info.param); });

// Some waits are there for all cases and order nothing new in one: a place counts as noticed when one
// of its edges is.
TEST(ScheduleEdges, NoPlaceThatMakesAnEdgeOfACollectiveCanBeLeftOutUnnoticed) {
  for (const char* algorithm : {"copy-ring", "copy-oneshot", "copy-direct"}) {
    SCOPED_TRACE(algorithm);
    Places places;
    for (const Case& c : cases()) {
      if (std::string(c.algorithm) == algorithm) places.leave_out_each(trace_of(c), name_of(c));
    }
    places.expect_all_noticed(8);
  }
}

/// `peers`: with peer access. `behind`: what follows is ordered behind the stream that stands for the
/// transfer, else it is the next user of each side.
std::vector<test::Operation> trace_of_transfer(bool peers, bool behind) {
  TracingDriver& driver = TracingDriver::instance();
  driver.set_peers(peers);
  const std::vector<Device*> devices = driver.devices(2);
  Stream &from = devices[0]->compute(), &to = devices[1]->compute();
  static Stream& later = devices[0]->create_stream();
  constexpr size_t kBytes = size_t{18} << 20;  // five pieces when staged: buffers take turns
  std::vector<char> source(kBytes, 7), target(kBytes, 0);
  driver.start();
  driver.touch(from, source.data(), kBytes, true, "the producer of the source");
  driver.touch(to, target.data(), kBytes, false, "an earlier reader of the target");
  Stream& whole = transfer(target.data(), to, source.data(), from, kBytes);
  EXPECT_EQ(target, source);
  if (behind) {
    order_after(later, whole);
    driver.touch(later, source.data(), kBytes, true, "the next owner of the source");
    driver.touch(later, target.data(), kBytes, true, "the next owner of the target");
  } else {
    driver.touch(from, source.data(), kBytes, true, "the next writer of the source");
    driver.touch(to, target.data(), kBytes, false, "a reader of the target");
  }
  auto trace = driver.stop();
  driver.set_peers(true);
  return trace;
}

TEST(TransferSchedule, OrdersEveryTwoAccesses) {
  for (bool peers : {true, false}) {
    for (bool behind : {true, false}) {
      const auto trace = trace_of_transfer(peers, behind);
      const auto fault = ScheduleCheck(trace).fault();
      EXPECT_FALSE(fault) << *fault;
    }
  }
}

TEST(TransferSchedule, NoPlaceThatMakesAnEdgeCanBeLeftOutUnnoticed) {
  Places places;
  for (bool peers : {true, false}) {
    for (bool behind : {true, false}) {
      places.leave_out_each(trace_of_transfer(peers, behind), peers ? "peer" : "staged");
    }
  }
  places.expect_all_noticed(6);
}

TEST(ScheduleCheck, NamesTheTwoAccessesAndAWaitWithoutASignal) {
  TracingDriver& driver = TracingDriver::instance();
  const std::vector<Device*> devices = driver.devices(2);
  char byte = 0;
  driver.start();
  driver.touch(devices[0]->compute(), &byte, 1, true, "the writer");
  driver.touch(devices[1]->compute(), &byte, 1, false, "the reader");
  const auto unordered = driver.stop();
  const size_t scratch = (unordered.size() - 2) / 2;  // accesses to scratch come before and after
  EXPECT_EQ(ScheduleCheck(unordered).fault(),
            "the writer (operation " + std::to_string(scratch) + ") and the reader (operation " +
                std::to_string(scratch + 1) + ") touch the same bytes in no order");
  driver.start();
  EventHandle event = driver.create_event(0, false);
  driver.wait(devices[1]->compute().handle(), event);
  const auto unsignalled = driver.stop();
  EXPECT_EQ(ScheduleCheck(unsignalled).fault(),
            "operation " + std::to_string(scratch) + " waits for an event that nothing records");
}

}  // namespace
}  // namespace fabric
