// parallel_for covers every index once, in chunks that do not depend on the number of threads, and
// any number of callers may use it at once.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;

TEST(ParallelFor, CoversEveryIndexOnce) {
  for (int64_t n : {1, 7, 64, 1000, 4097}) {
    for (int64_t grain : {1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
      host::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (auto& hit : hits) ASSERT_EQ(hit.load(), 1);
    }
  }
}

TEST(ParallelFor, DoesNothingForAnEmptyRange) {
  host::parallel_for(0, 8, [](int64_t, int64_t) { FAIL(); });
  host::parallel_for(-1, 8, [](int64_t, int64_t) { FAIL(); });
}

TEST(ParallelFor, ChunkBordersDependOnSizeAndGrainOnly) {
  for (int round = 0; round < 20; ++round) {
    std::mutex mutex;
    std::set<std::pair<int64_t, int64_t>> chunks;
    host::parallel_for(1003, 100, [&](int64_t begin, int64_t end) {
      std::lock_guard lock(mutex);
      chunks.emplace(begin, end);
    });
    ASSERT_EQ(chunks.size(), 11u);
    for (auto [begin, end] : chunks) {
      EXPECT_EQ(begin % 100, 0);
      EXPECT_EQ(end, std::min<int64_t>(1003, begin + 100));
    }
  }
}

TEST(ParallelFor, RunsInlineWhenOneChunkIsEnough) {
  const auto self = std::this_thread::get_id();
  host::parallel_for(10, 10, [&](int64_t begin, int64_t end) {
    EXPECT_EQ(std::this_thread::get_id(), self);
    EXPECT_EQ(end - begin, 10);
  });
}

TEST(ParallelFor, ManyStreamWorkersCallItAtOnce) {
  constexpr int kStreams = 12;
  std::vector<int64_t> sums(kStreams, 0);
  std::vector<Stream*> streams;
  for (int s = 0; s < kStreams; ++s) {
    streams.push_back(&fresh_device().compute());
    for (int i = 0; i < 30; ++i) {
      host::enqueue(streams.back()->handle(), [&sums, s] {
        std::atomic<int64_t> sum{0};
        host::parallel_for(1000, 10, [&](int64_t begin, int64_t end) { sum += end - begin; });
        sums[static_cast<size_t>(s)] += sum.load();
      });
    }
  }
  for (Stream* stream : streams) stream->synchronize(60'000);
  for (int64_t sum : sums) EXPECT_EQ(sum, 30000);
}

TEST(ParallelFor, NestedCallsComplete) {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      host::parallel_for(16, 1, [&](int64_t, int64_t) {
        host::parallel_for(16, 1, [&](int64_t, int64_t) {
          host::parallel_for(4, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
        });
      });
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 4 * 16 * 16 * 4);
}

TEST(ParallelFor, WritesAreVisibleToTheCallerWhenItReturns) {
  std::vector<int> data(10000);
  for (int round = 1; round <= 50; ++round) {
    host::parallel_for(10000, 100, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) data[static_cast<size_t>(i)] = round;
    });
    for (int value : data) ASSERT_EQ(value, round);
  }
}

}  // namespace
}  // namespace fabric
