// The allocator under a long random run and out of memory, on the host driver. The same bodies run
// on a GPU through test/cuda/allocator_check.cc.
#include <gtest/gtest.h>

#include "allocator_exhaustion.h"
#include "allocator_trace.h"
#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int64_t kOperations = 100'000;  // ten times slower there
#else
constexpr int64_t kOperations = 1'000'000;
#endif

TEST(AllocatorFuzz, AMillionAllocationsAndFreesOverFourStreamsNeitherOverlapNorLeak) {
  test::TraceOptions options;
  options.operations = kOperations;
  const test::TraceResult result = test::AllocatorTrace(fresh_device(), options).run();
  EXPECT_EQ(result.failure, "");
  EXPECT_GE(result.allocations + result.frees, kOperations);
  EXPECT_EQ(result.allocations, result.frees);
  EXPECT_GT(result.verified, kOperations / 16);
  EXPECT_EQ(result.wrong, 0);
  EXPECT_EQ(result.refused, 0);
  EXPECT_GT(result.uses, kOperations / 32);
  EXPECT_GT(result.fragmentation, 0);
  EXPECT_LT(result.fragmentation, 0.5);
  RecordProperty("fragmentation", std::to_string(result.fragmentation));
}

TEST(AllocatorFuzz, UnderATightLimitTheLadderRunsAndARefusalHarmsNobody) {
  Device& device = fresh_device();
  test::TraceOptions options;
  options.operations = kOperations / 50;
  options.most_bytes = size_t{64} << 20;
  device.allocator().set_limit(size_t{96} << 20);
  const test::TraceResult result = test::AllocatorTrace(device, options).run();
  EXPECT_EQ(result.failure, "");
  EXPECT_GT(result.stats.retries, 0u);  // how often depends on how quickly the streams go on
  EXPECT_EQ(result.stats.out_of_memory, static_cast<uint64_t>(result.refused));
  EXPECT_LE(result.stats.peak_reserved_bytes, uint64_t{96} << 20);
}

TEST(AllocatorFuzz, ForcedOutOfMemoryRecoversByReleasingAndElseFailsWithTheAccount) {
  const test::ExhaustionResult result = test::force_exhaustion(fresh_device(), size_t{32} << 20);
  EXPECT_EQ(result.failure, "") << result.message << result.account;
}

TEST(AllocatorFuzz, ACacheHitCostsLessThanAMicrosecond) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers slow it down";
#endif
  Device& device = fresh_device();
  double best = test::cache_hit_ns(device, 20'000);
  for (int i = 0; i < 20 && best >= 1000; ++i)
    best = std::min(best, test::cache_hit_ns(device, 20'000));
  EXPECT_LT(best, 1000);
}

}  // namespace
}  // namespace fabric
