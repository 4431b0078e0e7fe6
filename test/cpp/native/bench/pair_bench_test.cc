// A pair of devices measured: every way moves the right bytes both ways and is timed, and what is no pair is refused.
#include "bench/pair_bench.h"

#include <gtest/gtest.h>

#include "fabric/fabric.h"
#include "fabric/faults.h"

namespace weft::bench {
namespace {

TEST(PairBench, EveryWayIsRightAndTimed) {
  PairBench bench(fabric::open_device("host:0"), fabric::open_device("host:1"), 1 << 20);
  for (const uint64_t bytes : {uint64_t{16}, uint64_t{1} << 20}) {
    const auto figures = bench.measure(bytes, {1, 8}, 3, 2);
    ASSERT_EQ(figures.size(), 2u);  // host devices have no kernels with CTAs
    for (const PairFigure& each : figures) {
      EXPECT_EQ(each.error, "") << each.way;
      EXPECT_EQ(each.wrong, 0u) << each.way;
      EXPECT_EQ(each.one_us.size(), 3u);
      EXPECT_EQ(each.both_us.size(), 3u);
    }
  }
  EXPECT_EQ(bench.flag_ns(10), 0);
}

TEST(PairBench, WhatIsNoPairOrNoSizeIsRefused) {
  Device& device = fabric::open_device("host:0");
  EXPECT_THROW(PairBench(device, device, 4096), Error);
  PairBench bench(device, fabric::open_device("host:1"), 4096);
  EXPECT_THROW(bench.measure(8192, {}, 1, 1), Error);
  EXPECT_THROW(bench.measure(24, {}, 1, 1), Error);
}

TEST(PairBench, DevicesThatDoNotReachEachOtherAreNamed) {
  Device &from = fabric::open_device("host:2"), &to = fabric::open_device("host:3");
  fabric::faults::set_peer_access(2, 3, false);
  try {
    PairBench(from, to, 4096);
    ADD_FAILURE() << "a pair without access was measured";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPeerAccess);
    EXPECT_NE(error.message().find("host:2 and host:3"), std::string::npos);
  }
  fabric::faults::clear();
}

}  // namespace
}  // namespace weft::bench
