// Tests of pairs of devices: what they find on pairs that work, lie, hang or are slow, and that a
// pair that fails is named, not used, and staged.
#include <gtest/gtest.h>

#include <chrono>

#include "group/collective_run.h"

namespace fabric {
namespace {

using faults::PairFault;
using test::host_devices;

class PairProbes : public test::CleanFabric {
 protected:
  void SetUp() override { forget_probes(); }
  void TearDown() override {
    faults::clear();
    forget_probes();
  }

  std::vector<Device*> devices_ = host_devices(3);

  PairProbe of(int from, int to) {
    for (const Link& link : topology(devices_)) {
      if (link.from == devices_[static_cast<size_t>(from)]->index() &&
          link.to == devices_[static_cast<size_t>(to)]->index()) {
        return link.probe.value();
      }
    }
    return {};
  }
  bool reaches(int from, int to) {
    return enable_peer(*devices_[static_cast<size_t>(from)], *devices_[static_cast<size_t>(to)]);
  }
};

TEST_F(PairProbes, EveryPairIsMeasuredOnBothPathsAndBothWays) {
  EXPECT_EQ(probe_peers(devices_).measured, 6);
  for (const Link& link : topology(devices_)) {
    ASSERT_TRUE(link.probe.has_value());
    EXPECT_TRUE(link.probe->usable()) << link.probe->reason;
    for (const PathProbe& path : {link.probe->copy, link.probe->kernel}) {
      EXPECT_EQ(path.state, ProbeState::kWorks);
      EXPECT_GT(path.gbps, 0);
      EXPECT_GT(path.both_gbps, 0);
      EXPECT_GT(path.latency_us, 0);
    }
    EXPECT_EQ(link.gbps, link.probe->copy.gbps);
    EXPECT_TRUE(link.native_atomics);
  }
}

TEST_F(PairProbes, APairIsTestedOnceUnlessAskedAgain) {
  EXPECT_EQ(probe_peers(devices_).measured, 6);
  EXPECT_EQ(probe_peers(devices_).measured, 0);
  ProbeOptions options;
  options.again = true;
  EXPECT_EQ(probe_peers(devices_, options).measured, 6);
}

TEST_F(PairProbes, APairThatLiesInOneDirectionIsNamedAndStaged) {
  faults::set_pair_fault(0, 1, PairFault::kLies);
  probe_peers(devices_);
  EXPECT_EQ(of(0, 1).copy.state, ProbeState::kWrong);
  EXPECT_NE(of(0, 1).reason.find("came back wrong"), std::string::npos);
  EXPECT_TRUE(of(1, 0).usable());
  EXPECT_FALSE(reaches(0, 1));
  EXPECT_TRUE(reaches(1, 0));

  Device &a = *devices_[0], &b = *devices_[1];
  constexpr size_t kBytes = 1 << 16;
  Block* from = a.allocator().allocate(kBytes, a.compute());
  Block* to = b.allocator().allocate(kBytes, b.compute());
  a.driver().fill(from->ptr, a.ordinal(), 7, kBytes, a.compute().handle());
  transfer(to->ptr, b.compute(), from->ptr, a.compute(), kBytes);
  b.compute().synchronize();
  const auto* bytes = static_cast<const unsigned char*>(to->ptr);
  EXPECT_EQ(std::count(bytes, bytes + kBytes, 7), static_cast<long>(kBytes));
  a.allocator().free(from);
  b.allocator().free(to);
}

TEST_F(PairProbes, APairThatHangsEndsAtTheDeadlineAndIsNotUsed) {
  faults::set_pair_fault(1, 2, PairFault::kHangs);
  ProbeOptions options;
  options.limit_ms = 300;
  const auto start = std::chrono::steady_clock::now();
  probe_peers({devices_[1], devices_[2]}, options);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took.count(), 10);
  EXPECT_EQ(of(1, 2).copy.state, ProbeState::kHangs);
  EXPECT_EQ(of(1, 2).kernel.state, ProbeState::kUntested);
  EXPECT_NE(of(1, 2).reason.find("not done after 300 ms"), std::string::npos);
  EXPECT_FALSE(reaches(1, 2));
}

TEST_F(PairProbes, ASlowPairIsUsedAndMeasuredAsSlow) {
  faults::set_pair_fault(0, 2, PairFault::kSlow);
  ProbeOptions options;
  options.limit_ms = 30'000;
  probe_peers({devices_[0], devices_[2]}, options);
  EXPECT_TRUE(of(0, 2).usable());
  EXPECT_GT(of(0, 2).copy.gbps, 0);
  EXPECT_LT(of(0, 2).copy.gbps, 0.06);
  EXPECT_GT(of(2, 0).copy.gbps, of(0, 2).copy.gbps);
}

TEST_F(PairProbes, APairWithoutAccessIsRefusedNotTested) {
  faults::set_peer_access(0, 1, false);
  probe_peers(devices_);
  EXPECT_EQ(of(0, 1).copy.state, ProbeState::kRefused);
  EXPECT_FALSE(of(0, 1).reason.empty());
}

TEST_F(PairProbes, ADeadlineOutOfRangeIsAUsageError) {
  ProbeOptions options;
  options.limit_ms = 0;
  EXPECT_THROW(probe_peers(devices_, options), Error);
}

}  // namespace
}  // namespace fabric
