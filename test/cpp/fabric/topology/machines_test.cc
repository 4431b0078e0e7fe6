// Ring order and cliques on the matrices of real kinds of machines.
#include "machines.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>

#include "topology/cliques.h"

namespace fabric {
namespace {

using test::Matrix;
using Sets = std::vector<std::vector<int>>;

double weakest(const Matrix& weight, const std::vector<int>& ring) {
  double worst = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < ring.size(); ++i) {
    worst = std::min(
        worst,
        weight[static_cast<size_t>(ring[i])][static_cast<size_t>(ring[(i + 1) % ring.size()])]);
  }
  return worst;
}

std::vector<int> counted(int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}

TEST(Machines, BehindNvswitchTheRingIsTheNaturalOrderAndAllAreOneClique) {
  for (int n : {2, 4, 8}) {
    const Matrix weight = test::nvswitch(n);
    EXPECT_EQ(best_ring(weight), counted(n));
    EXPECT_EQ(cliques(weight, clique_floor(weight)), Sets{counted(n)});
  }
}

TEST(Machines, InTheCubeMeshTheRingTakesOnlyDoubleLinks) {
  const Matrix weight = test::dgx1();
  const std::vector<int> ring = best_ring(weight);
  EXPECT_EQ(ring, (std::vector<int>{0, 3, 2, 1, 5, 6, 7, 4}));
  EXPECT_EQ(weakest(weight, ring), test::peer("nvlink", 50));
  EXPECT_EQ(cliques(weight, clique_floor(weight)), (Sets{{0, 1, 2, 3}, {4, 5, 6, 7}}));
}

TEST(Machines, BetweenPcieIslandsTheRingCrossesOnceEachWay) {
  const Matrix weight = test::pcie_islands();
  const std::vector<int> ring = best_ring(weight);
  int crossings = 0;
  for (size_t i = 0; i < 8; ++i) crossings += (ring[i] + ring[(i + 1) % 8]) % 2;
  EXPECT_EQ(crossings, 2);
  EXPECT_EQ(ring, (std::vector<int>{0, 1, 3, 5, 7, 2, 4, 6}));
  EXPECT_EQ(cliques(weight, clique_floor(weight)), (Sets{{0, 2, 4, 6}, {1, 3, 5, 7}}));
}

TEST(Machines, AMigSliceIsACliqueOfItsOwn) {
  const Matrix weight = test::mig_slice();
  EXPECT_EQ(best_ring(weight), counted(4));  // every ring stages in and out of it
  EXPECT_EQ(cliques(weight, clique_floor(weight)), (Sets{{0, 1, 3}, {2}}));
}

TEST(Machines, ALinkThatLiesInOneDirectionIsInNoRingAndNoClique) {
  const Matrix weight = test::one_way_lies();
  const std::vector<int> ring = best_ring(weight);
  EXPECT_EQ(weakest(weight, ring), test::peer("nvlink", 478));
  EXPECT_EQ(cliques(weight, clique_floor(weight)), (Sets{{0, 1, 3, 4, 5, 6, 7}, {2}}));
}

TEST(Machines, WithoutAnyPeerLinkEachIsAloneAndTheRingStaysNatural) {
  const Matrix weight(4, std::vector<double>(4, test::staged(6)));
  EXPECT_EQ(best_ring(weight), counted(4));
  EXPECT_EQ(cliques(weight, clique_floor(weight)), (Sets{{0}, {1}, {2}, {3}}));
}

TEST(Machines, CliquesAreTheLargestOfAllSubsets) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const int n = 3 + round % 6;
    Matrix weight(static_cast<size_t>(n), std::vector<double>(static_cast<size_t>(n), 0));
    for (auto& row : weight) {
      for (double& w : row) w = static_cast<double>(random() % 3);
    }
    size_t largest = 0;
    for (uint32_t set = 1; set < 1u << n; ++set) {
      bool all = true;
      size_t size = 0;
      for (int i = 0; i < n; ++i) {
        if ((set >> i & 1u) == 0) continue;
        ++size;
        for (int j = 0; j < n; ++j) {
          if (i != j && (set >> j & 1u)) {
            all = all && weight[static_cast<size_t>(i)][static_cast<size_t>(j)] >= 1;
          }
        }
      }
      if (all) largest = std::max(largest, size);
    }
    const Sets found = cliques(weight, 1);
    EXPECT_EQ(found.front().size(), largest);
    std::vector<int> members;
    for (const auto& set : found) members.insert(members.end(), set.begin(), set.end());
    std::sort(members.begin(), members.end());
    EXPECT_EQ(members, counted(n));
  }
}

// Fully different rates are the worst case; the bound is generous for a busy machine.
TEST(Machines, SixteenDevicesAreOrderedWithinASecond) {
  std::mt19937 random(5);
  for (int n : {8, 12, 16}) {
    Matrix weight(static_cast<size_t>(n), std::vector<double>(static_cast<size_t>(n), 0));
    for (auto& row : weight) {
      for (double& w : row) w = 1 + static_cast<double>(random() % 100000);
    }
    const auto start = std::chrono::steady_clock::now();
    const std::vector<int> ring = best_ring(weight);
    const Sets sets = cliques(weight, clique_floor(weight));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(ring, best_ring(weight));
    EXPECT_FALSE(sets.empty());
    EXPECT_LT(took.count(), 1.0) << n;
  }
}

}  // namespace
}  // namespace fabric
