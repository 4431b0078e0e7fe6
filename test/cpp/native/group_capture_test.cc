// Captures by several threads over a group: the ranks' work and their collective become one graph,
// replays meet like any collective, a rank that fails costs the others only an error, and a rank
// that never comes is named.
#include "graph/group_capture.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "dispatch/op_table.h"
#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

constexpr int kRanks = 3;
constexpr int64_t kTimeoutMs = 10'000;

std::shared_ptr<fabric::Group> make_group() {
  ensure_registered();
  std::vector<Device*> devices;
  for (int r = 0; r < kRanks; ++r) {
    devices.push_back(&fabric::open_device("host:" + std::to_string(r)));
  }
  return fabric::Group::create(devices);
}

void on_every_rank(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int r = 0; r < kRanks; ++r) threads.emplace_back(body, r);
  for (std::thread& thread : threads) thread.join();
}

fabric::CollectiveArgs sum_of(const Tensor& t) {
  fabric::CollectiveArgs args;
  args.dtype = t.dtype();
  args.count = static_cast<uint64_t>(t.numel());
  args.in = args.out = t.data();
  args.stream = &current_stream(t.device());
  return args;
}

float first_value(const Tensor& t) {
  EXPECT_TRUE(t.device().driver().synchronize_stream(t.device().compute().handle(), kTimeoutMs));
  float value;
  std::memcpy(&value, t.data(), sizeof value);
  return value;
}

fabric::CollectiveArgs replay_of(const StepGraph& step, Device& device) {
  fabric::CollectiveArgs args;
  args.kind = fabric::CollectiveKind::kReplay;
  args.graph = step.graph();
  args.stream = &device.compute();
  return args;
}

TEST(GroupCapture, ReplaysTheStepsOfAllRanksWithTheirReduction) {
  auto group = make_group();
  on_every_rank([&](int rank) {
    Device& device = group->device(rank);
    Tensor t = ops::full({1000}, rank + 1, DType::kF32, device);
    auto capture = GroupCapture::join(group, rank, kTimeoutMs);
    capture->enter(rank);
    ops::scalar_(UnaryOp::kMulScalar, t, 2, "mul_scalar_");
    auto work = group->submit(rank, sum_of(t), kTimeoutMs);
    capture->leave(rank);
    work->wait_launched();
    work->stream_wait(device.compute());
    capture->enter(rank);
    ops::scalar_(UnaryOp::kAddScalar, t, 1, "add_scalar_");
    capture->leave(rank);
    auto step = capture->finish(rank, std::nullopt);
    EXPECT_EQ(first_value(t), rank + 1);  // capturing ran nothing
    float expected[2] = {2.f * (1 + 2 + 3) + 1, 0};
    expected[1] = 2 * kRanks * expected[0] + 1;
    for (float value : expected) {
      step->write(static_cast<size_t>(rank), {});
      auto run = group->submit(rank, replay_of(*step, device), kTimeoutMs);
      run->wait_launched();
      run->stream_wait(device.compute());
      EXPECT_EQ(first_value(t), value);
    }
  });
}

// Ranks that came at the same time both took themselves for the last one, which begins the capture.
TEST(GroupCapture, RanksThatJoinAtTheSameTimeBeginOneCapture) {
  auto group = make_group();
  constexpr int kRounds = 10'000;
  std::atomic<int> ready{0};
  std::atomic<int> failed{0};
  on_every_rank([&](int rank) {
    for (int round = 0; round < kRounds; ++round) {
      ready.fetch_add(1);
      while (ready.load() < (round + 1) * kRanks) std::this_thread::yield();
      try {
        auto capture = GroupCapture::join(group, rank, kTimeoutMs);
        capture->enter(rank);
        capture->leave(rank);
        capture->finish(rank, std::nullopt);
      } catch (const Error&) {
        ++failed;
      }
    }
  });
  EXPECT_EQ(failed.load(), 0);
}

TEST(GroupCapture, AFailingRankIsEveryRanksErrorAndTheGroupWorksOn) {
  auto group = make_group();
  for (int round = 0; round < 30; ++round) {
    const int failing = round % kRanks;
    on_every_rank([&](int rank) {
      Device& device = group->device(rank);
      auto capture = GroupCapture::join(group, rank, kTimeoutMs);
      std::optional<Error> failure;
      try {
        capture->enter(rank);
        if (rank == failing) fail(ErrorCode::kUsage, "rank %d cannot be captured", rank);
        Tensor t = ops::full({10}, 1, DType::kF32, device);
        auto work = group->submit(rank, sum_of(t), kTimeoutMs);
        capture->leave(rank);
        work->wait_launched();
        ADD_FAILURE() << "a rank was missing";
      } catch (const Error& error) {
        failure = error;
      }
      EXPECT_THROW(capture->finish(rank, failure), Error);
      EXPECT_FALSE(device.capturing());
      Tensor t = ops::full({10}, rank, DType::kF32, device);
      auto work = group->submit(rank, sum_of(t), kTimeoutMs);
      work->wait_launched();
      work->stream_wait(device.compute());
      EXPECT_EQ(first_value(t), 0 + 1 + 2);
    });
  }
}

/// Ranks 0 and 1 alone, and 1 and 2.
std::vector<std::shared_ptr<fabric::Group>> pairs_of(fabric::Group& group) {
  return {fabric::Group::create({&group.device(0), &group.device(1)}),
          fabric::Group::create({&group.device(1), &group.device(2)})};
}
std::vector<std::shared_ptr<fabric::Group>> own_pairs(
    const std::vector<std::shared_ptr<fabric::Group>>& pairs, int rank) {
  if (rank == 1) return pairs;
  return {pairs[rank == 0 ? 0 : 1]};
}

TEST(GroupCapture, CallsOfGroupsOfSomeRanksAreReplayedInTheOrderOfTheirData) {
  auto group = make_group();
  const auto pairs = pairs_of(*group);
  on_every_rank([&](int rank) {
    Device& device = group->device(rank);
    Tensor value = ops::full({10}, 0, DType::kF32, device);
    Tensor t = ops::full({10}, 0, DType::kF32, device);
    auto capture = GroupCapture::join(group, rank, kTimeoutMs, own_pairs(pairs, rank));
    const auto call = [&](size_t pair, int place) {
      return pairs[pair]->submit(place, sum_of(t), kTimeoutMs);
    };
    capture->enter(rank);
    ops::copy_(t, value);
    std::shared_ptr<fabric::Work> first = rank < 2 ? call(0, rank) : nullptr;
    capture->leave(rank);
    capture->enter(rank);  // the sums of 0 and 1 are enqueued: 1 adds its own to 2's
    if (first) first->stream_wait(device.compute());
    std::shared_ptr<fabric::Work> second = rank > 0 ? call(1, rank - 1) : nullptr;
    capture->leave(rank);
    if (second) second->wait_launched();
    capture->enter(rank);
    if (second) second->stream_wait(device.compute());
    capture->leave(rank);
    auto step = capture->finish(rank, std::nullopt);
    for (int round = 1; round <= 20; ++round) {
      ops::fill_(value, round * (1 + rank));
      step->write(static_cast<size_t>(rank), {});
      auto work = group->submit(rank, replay_of(*step, device), kTimeoutMs);
      work->wait_launched();
      work->stream_wait(device.compute());
      const float sum = static_cast<float>(round);
      EXPECT_EQ(first_value(t), rank == 0 ? 3 * sum : 6 * sum) << "rank " << rank;
    }
  });
}

TEST(GroupCapture, AFailureEndsWaitsInGroupsOfSomeRanksAtOnceAndTheyWorkOn) {
  auto group = make_group();
  const auto pairs = pairs_of(*group);
  const auto begin = std::chrono::steady_clock::now();
  for (int round = 0; round < 10; ++round) {
    on_every_rank([&](int rank) {
      Device& device = group->device(rank);
      auto capture = GroupCapture::join(group, rank, 60'000, own_pairs(pairs, rank));
      std::optional<Error> failure;
      try {
        capture->enter(rank);
        if (rank == 1) fail(ErrorCode::kUsage, "rank 1 cannot be captured");
        Tensor t = ops::full({10}, 1, DType::kF32, device);
        auto work = pairs[rank == 0 ? 0 : 1]->submit(rank == 0 ? 0 : 1, sum_of(t), 60'000);
        capture->leave(rank);
        work->wait_launched();  // for rank 1
        ADD_FAILURE() << "a rank was missing";
      } catch (const Error& error) {
        failure = error;
      }
      EXPECT_THROW(capture->finish(rank, failure), Error);
      if (rank == 2) return;
      Tensor t = ops::full({10}, rank + 1, DType::kF32, device);
      auto work = pairs[0]->submit(rank, sum_of(t), kTimeoutMs);
      work->wait_launched();
      work->stream_wait(device.compute());
      EXPECT_EQ(first_value(t), 3);
    });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(40));
}

TEST(GroupCapture, AnAbortOfTheGroupEndsEveryWaitAtOnce) {
  auto group = make_group();
  const auto begin = std::chrono::steady_clock::now();
  on_every_rank([&](int rank) {
    auto capture = GroupCapture::join(group, rank, 60'000);
    if (rank == 1) {  // its thread is gone: whoever saw it aborts the group
      group->abort(Error(ErrorCode::kUsage, "rank 1 is gone"));
      return;
    }
    EXPECT_THROW(capture->finish(rank, std::nullopt), Error);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  for (int r = 0; r < kRanks; ++r) EXPECT_FALSE(group->device(r).capturing());
  group->reset();
}

TEST(GroupCapture, ARankThatNeverComesIsNamed) {
  auto group = make_group();
  on_every_rank([&](int rank) {
    if (rank == 1) return;
    try {
      GroupCapture::join(group, rank, 50);
      ADD_FAILURE() << "rank 1 did not come";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCollectiveTimeout);
      EXPECT_NE(std::string(error.what()).find("1"), std::string::npos) << error.what();
    }
  });
  EXPECT_FALSE(group->device(0).capturing());
}

TEST(GroupCapture, AnotherGraphAtOneRankIsADesyncAtAll) {
  auto group = make_group();
  std::vector<std::shared_ptr<StepGraph>> own(kRanks);
  for (int r = 0; r < kRanks; ++r) {
    own[r] = std::make_shared<StepGraph>(std::vector<Device*>{&group->device(r)});
    own[r]->end();
  }
  on_every_rank([&](int rank) {
    auto work = group->submit(rank, replay_of(*own[rank], group->device(rank)), kTimeoutMs);
    try {
      work->wait_launched();
      ADD_FAILURE() << "the ranks replayed different graphs";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDesync) << error.what();
    }
  });
}

}  // namespace
}  // namespace weft
