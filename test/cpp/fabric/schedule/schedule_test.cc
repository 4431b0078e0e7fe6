// The schedule of every collective by every algorithm, and of the copy between two devices: no two
// accesses of the same bytes without an order, no wait without its signal, every contribution once.
// Then each edge in turn is left out, and each signal: the check has to notice, for every place in the
// code that makes one.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "schedule/schedule_cases.h"
#include "schedule/schedule_check.h"

namespace fabric {
namespace {

using test::cases;
using test::name_of;
using test::ScheduleCase;
using test::ScheduleCheck;
using test::trace_of;
using test::TracingDriver;

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

class Schedule : public ::testing::TestWithParam<ScheduleCase> {};

TEST_P(Schedule, OrdersEveryTwoAccessesAndEachContributionArrivesOnce) {
  const auto trace = trace_of(GetParam());
  const auto fault = ScheduleCheck(trace).fault();
  EXPECT_FALSE(fault) << *fault;
}

INSTANTIATE_TEST_SUITE_P(OfEveryCollective, Schedule, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return name_of(info.param); });

// Some waits are there for all cases and order nothing new in one: a place counts as noticed when one
// of its edges is.
TEST(ScheduleEdges, NoPlaceThatMakesAnEdgeOfACollectiveCanBeLeftOutUnnoticed) {
  for (const char* algorithm : {"copy-ring", "copy-oneshot", "copy-direct"}) {
    SCOPED_TRACE(algorithm);
    Places places;
    for (const ScheduleCase& c : cases()) {
      if (c.ranks == 4) continue;  // the same places, many times
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
  static EventHandle event = driver.create_event(0, false);  // the driver never gives one back
  driver.wait(devices[1]->compute().handle(), event);
  const auto unsignalled = driver.stop();
  EXPECT_EQ(ScheduleCheck(unsignalled).fault(),
            "operation " + std::to_string(scratch) + " waits for an event that nothing records");
}

}  // namespace
}  // namespace fabric
