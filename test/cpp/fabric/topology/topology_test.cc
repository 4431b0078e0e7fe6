// Ring order as a pure function over a weight matrix, and links as the drivers report them.
#include "topology/topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "group/collective_run.h"

namespace fabric {
namespace {

using Matrix = std::vector<std::vector<double>>;
using test::CleanFabric;
using test::host_devices;

Matrix uniform(int n, double weight) { return Matrix(n, std::vector<double>(n, weight)); }

std::pair<double, double> score(const Matrix& weight, const std::vector<int>& ring) {
  double worst = 1e300, sum = 0;
  for (size_t i = 0; i < ring.size(); ++i) {
    const double w = weight[ring[i]][ring[(i + 1) % ring.size()]];
    worst = std::min(worst, w);
    sum += w;
  }
  return {worst, sum};
}

bool is_ring_from_zero(std::vector<int> ring, int n) {
  if (static_cast<int>(ring.size()) != n || ring[0] != 0) return false;
  std::sort(ring.begin(), ring.end());
  for (int i = 0; i < n; ++i) {
    if (ring[i] != i) return false;
  }
  return true;
}

TEST(RingOrder, EqualLinksKeepTheNaturalOrder) {
  for (int n = 1; n <= 10; ++n) {
    std::vector<int> natural(n);
    std::iota(natural.begin(), natural.end(), 0);
    EXPECT_EQ(best_ring(uniform(n, 5.0)), natural) << n;
  }
}

TEST(RingOrder, FollowsTheStrongLinks) {
  Matrix weight = uniform(4, 1.0);
  auto link = [&](int a, int b) { weight[a][b] = weight[b][a] = 300.0; };
  link(0, 2);
  link(2, 1);
  link(1, 3);
  link(3, 0);
  EXPECT_EQ(best_ring(weight), (std::vector<int>{0, 2, 1, 3}));
}

TEST(RingOrder, NominalSpeedStandsInUntilAPairWasMeasured) {
  Link measured{0, 1, "nvlink", true, 380.0};
  Link promised{0, 1, "nvlink", true, 0, 18, 478.0};
  Link slow{0, 1, "pcie", true, 0, 16, 63.0};
  Link untold{0, 1, "pcie", true};
  EXPECT_NEAR(link_weight(promised) - link_weight(untold), 382.4, 1e-6);
  EXPECT_GT(link_weight(measured), link_weight(slow));
  EXPECT_GT(link_weight(slow), link_weight(untold));
}

// Measured rates differ a little from process to process; the order of a ring's sums must not.
TEST(RingOrder, MeasuredRatesCountForNothingWhereSumsMustRepeat) {
  const Link fast{0, 1, "nvlink", true, 381.0, 18, 478.0};
  const Link like{0, 1, "nvlink", true, 379.5, 18, 478.0};
  const Link staged{0, 1, "staged", false, 900.0};
  EXPECT_NE(link_weight(fast), link_weight(like));
  EXPECT_EQ(link_weight(fast, false), link_weight(like, false));
  EXPECT_GT(link_weight(like, false), link_weight(staged, false));
}

TEST(RingOrder, AvoidsAStagedPairWhenPeersLeadAround) {
  Link staged{0, 1, "staged", false, 900.0};
  Link peer{0, 1, "pcie", true, 12.0};
  ASSERT_GT(link_weight(peer), link_weight(staged));
  Matrix weight = uniform(5, link_weight(peer));
  weight[0][1] = weight[1][0] = link_weight(staged);
  const std::vector<int> ring = best_ring(weight);
  for (size_t i = 0; i < ring.size(); ++i) {
    const int a = ring[i], b = ring[(i + 1) % ring.size()];
    EXPECT_FALSE((a == 0 && b == 1) || (a == 1 && b == 0));
  }
}

TEST(RingOrder, TakesTheBestOfAllRingsForDirectedLinks) {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const int n = 3 + round % 5;
    Matrix weight = uniform(n, 0);
    for (auto& row : weight) {
      for (double& w : row) w = static_cast<double>(random() % 9);
    }
    std::vector<int> ring(n);
    std::iota(ring.begin(), ring.end(), 0);
    auto best = score(weight, ring);
    while (std::next_permutation(ring.begin() + 1, ring.end())) {
      best = std::max(best, score(weight, ring));
    }
    const std::vector<int> found = best_ring(weight);
    ASSERT_TRUE(is_ring_from_zero(found, n));
    EXPECT_EQ(score(weight, found), best);
  }
}

TEST(RingOrder, LargeSetsGiveACompleteRingNoWorseThanTheNaturalOne) {
  std::mt19937 random(3);
  for (int n : {13, 16, 24}) {
    Matrix weight = uniform(n, 0);
    for (auto& row : weight) {
      for (double& w : row) w = 1.0 + static_cast<double>(random() % 100);
    }
    EXPECT_TRUE(is_ring_from_zero(best_ring(weight), n));
  }
}

using Topology = CleanFabric;

TEST_F(Topology, ListsEveryLinkInBothDirections) {
  auto devices = host_devices(3);
  const auto links = topology(devices);
  ASSERT_EQ(links.size(), 6u);
  for (const Link& link : links) {
    EXPECT_NE(link.from, link.to);
    EXPECT_EQ(link.kind, "memory");
    EXPECT_TRUE(link.peer_access);
  }
}

TEST_F(Topology, ALostPairIsStagedAndTheRingLeadsAroundIt) {
  auto devices = host_devices(4);
  faults::set_peer_access(0, 1, false);
  for (const Link& link : topology(devices)) {
    const bool lost = link.from + link.to == devices[0]->index() + devices[1]->index() &&
                      (link.from == devices[0]->index() || link.from == devices[1]->index());
    EXPECT_EQ(link.peer_access, !lost);
    EXPECT_EQ(link.kind, lost ? "staged" : "memory");
  }
  const std::vector<int> ring = ring_order(devices);
  EXPECT_EQ(ring[2], 1);  // 0 and 1 are not neighbours
}

TEST_F(Topology, VirtualDevicesOfOneDeviceReachEachOther) {
  Device& a = open_device("host:5/0", 2);
  Device& b = open_device("host:5/1", 2);
  const auto links = topology({&a, &b});
  ASSERT_EQ(links.size(), 2u);
  EXPECT_EQ(links[0].kind, "self");
  EXPECT_TRUE(enable_peer(a, b));
}

TEST_F(Topology, PeerAccessIsLoggedOnceAndFollowsItsLoss) {
  Device& a = test::fresh_device();
  Device& b = test::fresh_device();
  const LogMode before = event_log::mode();
  event_log::set_mode(LogMode::kBasic);
  const uint64_t since = event_log::read(0, 0).next_sequence;
  EXPECT_TRUE(enable_peer(a, b));
  EXPECT_TRUE(enable_peer(a, b));
  int logged = 0;
  for (const EventRecord& event : event_log::read(since, 1000).events) {
    logged += event.kind == static_cast<uint16_t>(EventKind::kPeerEnable) &&
              event.device == a.index() && event.peer == b.index();
  }
  event_log::set_mode(before);
  EXPECT_EQ(logged, 1);
  faults::set_peer_access(a.ordinal(), b.ordinal(), false);
  EXPECT_FALSE(enable_peer(a, b));
  faults::clear();
  EXPECT_TRUE(enable_peer(a, b));
}

}  // namespace
}  // namespace fabric
