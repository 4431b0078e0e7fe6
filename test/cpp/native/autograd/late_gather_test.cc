// The all-gathers of a sharded step run beside what comes after it: work that needs no parameter waits for nothing,
// each bucket is waited for where it is first used and no sooner, and whatever uses a parameter, collectives and
// captured steps too, finds it whole. ThreadSanitizer sees a missing edge here as a race.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "autograd/node.h"
#include "core/late_write.h"
#include "dispatch/op_table.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"
#include "fabric/faults.h"
#include "fabric/gate.h"
#include "graph/step_graph.h"
#include "ops/ops.h"
#include "parallel/reducer.h"

namespace weft {
namespace {

constexpr int64_t kLateLimitMs = 20'000;
constexpr int64_t kNotHeldLateMs = 60;
constexpr int kLateBuckets = 4;
constexpr int64_t kLateElements = 64;

/// What a rank trains: parameters of one bucket each.
struct LateRank {
  int rank;
  Device* device;
  std::vector<Tensor> params;
  std::unique_ptr<Reducer> reducer;

  void step() {
    reducer->begin(BackwardMode::kReduce, 0);
    for (size_t p = params.size(); p-- > 0;) {
      Tensor none, loss = call(Op::sum, {call(Op::mul_scalar, {params[p], 2.0}), Dims{}, false});
      backward({&loss, 1}, {&none, 1});
    }
    reducer->finish();
  }
  /// Every rank's elements become `value`, each by its owner.
  void update(double value) {
    for (const Tensor& block : reducer->shards().params()) ops::fill_(block, value);
    reducer->shards().begin_gather();
  }
};

class LateGather : public ::testing::Test {
 protected:
  void TearDown() override {
    fabric::event_log::set_mode(fabric::LogMode::kOff);
    fabric::faults::clear();
  }
  static void SetUpTestSuite() { ensure_registered(); }

  void each(int ranks, const std::function<void(LateRank&)>& body) {
    std::vector<Device*> devices;
    for (int r = 0; r < ranks; ++r) {
      devices.push_back(&fabric::open_device("host:" + std::to_string(r)));
    }
    group_ = fabric::Group::create(devices);
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks; ++r) {
      threads.emplace_back([&, r] {
        LateRank one{r, devices[static_cast<size_t>(r)], {}, nullptr};
        for (int p = 0; p < kLateBuckets; ++p) {
          one.params.push_back(ops::full({kLateElements}, p, DType::kF32, *one.device));
          set_requires_grad(one.params.back(), true);
        }
        one.reducer =
            std::make_unique<Reducer>(group_, r, one.params,
                                      ReducerOptions{.bucket_bytes = 4 * kLateElements,
                                                     .first_bucket_bytes = 4 * kLateElements,
                                                     .timeout_ms = kLateLimitMs,
                                                     .shards = {group_, r}});
        one.step();
        body(one);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  std::shared_ptr<fabric::Group> group_;
};

bool compute_done(Device& device, int64_t limit_ms) {
  return device.driver().synchronize_stream(device.compute().handle(), limit_ms);
}
void expect_late(const Tensor& t, float value) {
  ASSERT_TRUE(compute_done(t.device(), kLateLimitMs));
  std::vector<float> values(static_cast<size_t>(t.numel()));
  std::memcpy(values.data(), t.data(), values.size() * sizeof(float));
  for (float v : values) ASSERT_EQ(v, value);
}
Tensor late_twice(const Tensor& t) {
  NoGradGuard no_grad;
  return call(Op::mul_scalar, {t, 2.0});
}

TEST_F(LateGather, WorkWithoutParametersPassesAGatherAndAUseWaitsForIt) {
  auto gate = std::make_shared<fabric::Gate>();
  each(2, [&](LateRank& rank) {
    Device& device = *rank.device;
    if (rank.rank == 0) {
      device.driver().hold(group_->stream(0).handle(), gate);
    }
    const Tensor other = ops::full({8}, 1, DType::kF32, device);
    rank.update(7);
    rank.reducer->shards().meet_gather();
    const Tensor free = late_twice(other);
    if (rank.rank == 0) {
      EXPECT_TRUE(compute_done(device, kLateLimitMs))
          << "what needs no parameter waits for the gather";
    }
    const Tensor used = late_twice(rank.params[0]);
    if (rank.rank == 0) {
      EXPECT_FALSE(compute_done(device, kNotHeldLateMs))
          << "a parameter is used before it is there";
      gate->open();
    }
    expect_late(free, 2);
    expect_late(used, 14);
  });
}

TEST_F(LateGather, ABucketIsUsedWhileLaterOnesAreStillOnTheirWay) {
  fabric::event_log::set_mode(fabric::LogMode::kTiming);
  int beside = 0;
  for (int round = 0; round < 5 && beside == 0; ++round) {
    uint64_t since = 0;
    each(2, [&](LateRank& rank) {
      if (rank.rank == 0) {
        since = fabric::event_log::read(0, 1).next_sequence;
        fabric::faults::set_device_delay_us(1, 10'000);  // a slow peer: each of its copies
      }
      rank.update(3);
      rank.reducer->shards().meet_gather();
      std::vector<Tensor> results;
      for (const Tensor& p : rank.params) results.push_back(late_twice(p));
      for (const Tensor& result : results) expect_late(result, 6);
      for (Stream* stream : rank.device->streams()) {
        ASSERT_TRUE(rank.device->driver().synchronize_stream(stream->handle(), kLateLimitMs));
      }
    });
    fabric::faults::clear();
    uint64_t first_use = 0, last_copy = 0;
    for (const auto& event : fabric::event_log::read(since, 4096).events) {
      const auto kind = static_cast<fabric::EventKind>(event.kind);
      if (kind == fabric::EventKind::kCopy) last_copy = std::max(last_copy, event.device_ns);
      const bool use = kind == fabric::EventKind::kOperator && event.device == 0 &&
                       (event.detail & 0xffff) == static_cast<uint32_t>(Op::mul_scalar);
      if (use && first_use == 0) first_use = event.device_ns;
    }
    if (first_use > 0 && first_use < last_copy) ++beside;
  }
  EXPECT_GT(beside, 0) << "every use waits for all gathers";
}

TEST_F(LateGather, StepsThatFollowEachOtherSeeTheWholeOfEachUpdate) {
  each(3, [&](LateRank& rank) {
    for (int step = 1; step <= 20; ++step) {
      rank.update(step);
      std::vector<Tensor> results;
      if (step % 4 == 0) rank.reducer->shards().finish_gather();
      if (step % 2 == 0) {
        for (const Tensor& p : rank.params) results.push_back(late_twice(p));
      }
      rank.step();
      for (const Tensor& result : results) expect_late(result, 2.f * static_cast<float>(step));
    }
  });
}

TEST_F(LateGather, AnotherStreamWaitsToo) {
  auto gate = std::make_shared<fabric::Gate>();
  each(2, [&](LateRank& rank) {
    fabric::Driver& driver = rank.device->driver();
    if (rank.rank == 0) driver.hold(group_->stream(0).handle(), gate);
    rank.update(5);
    const Tensor here = late_twice(rank.params[1]);
    Stream& side = rank.device->create_stream();
    Tensor there;
    {
      StreamGuard guard(side);
      there = late_twice(rank.params[1]);
    }
    if (rank.rank == 0) {
      EXPECT_FALSE(driver.synchronize_stream(side.handle(), kNotHeldLateMs));
      gate->open();
    }
    ASSERT_TRUE(driver.synchronize_stream(side.handle(), kLateLimitMs));
    expect_late(there, 10);
    expect_late(here, 10);
  });
}

TEST_F(LateGather, ACaptureAndItsReplaysComeBehindIt) {
  each(2, [&](LateRank& rank) {
    rank.update(4);
    rank.reducer->shards().meet_gather();
    StepGraph graph({rank.device});
    Tensor read = late_twice(rank.params[0]);
    graph.end();
    for (int value : {4, 9, 16}) {
      if (value != 4) rank.update(value);
      graph.write(0, {});
      graph.launch();
      expect_late(read, 2.f * static_cast<float>(value));
    }
  });
}

TEST_F(LateGather, AReducerThatEndsLeavesWholeParameters) {
  each(3, [&](LateRank& rank) {
    rank.update(8);
    rank.reducer->shards().meet_gather();
    rank.reducer.reset();
    EXPECT_EQ(rank.params[2]->storage->late_write(), nullptr);
    for (const Tensor& p : rank.params) expect_late(late_twice(p), 16);
  });
}

}  // namespace
}  // namespace weft
