// Groups when ranks disagree, stay away or are told to stop: the same named error at every rank,
// within the deadline, and a group that works again.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "collective_run.h"

namespace fabric {
namespace {

using test::host_devices;
using test::run_checked;
using Clock = std::chrono::steady_clock;

class GroupFailure : public test::CleanFabric {
 protected:
  GroupFailure() : devices_(host_devices(3)), group_(Group::create(devices_)) {}

  CollectiveArgs args(CollectiveKind kind = CollectiveKind::kAllReduce, uint64_t count = 64) {
    CollectiveArgs args;
    args.kind = kind;
    args.count = count;
    args.in = args.out = memory_;
    return args;
  }

  static Error error_of(Work& work) {
    try {
      work.wait_launched();
    } catch (const Error& error) {
      return error;
    }
    return Error(ErrorCode::kNone, "no error");
  }

  // Rank 1 calls `odd`, the others `usual`; every rank must see one DesyncError about `differs`.
  void expect_desync(CollectiveArgs usual, CollectiveArgs odd, const std::string& differs,
                     const std::string& message) {
    std::vector<std::shared_ptr<Work>> works;
    for (int r = 0; r < 3; ++r) works.push_back(group_->submit(r, r == 1 ? odd : usual));
    for (auto& work : works) {
      const Error error = error_of(*work);
      EXPECT_EQ(error.code(), ErrorCode::kDesync);
      EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
      EXPECT_NE(error.fields_json().find("\"rank\":1,\"differs\":\"" + differs + "\""),
                std::string::npos)
          << error.fields_json();
    }
    run_checked(*group_, devices_, {.count = 17});
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
  float memory_[256] = {};
};

TEST_F(GroupFailure, AMismatchIsADesyncErrorAtEveryRankAndTheNextCallWorks) {
  auto usual = args();
  auto odd = args(CollectiveKind::kAllReduce, 100);
  expect_desync(usual, odd, "count",
                "rank 1 called all_reduce with 100 x f32, rank 0 with 64 x f32");
  odd = args();
  odd.dtype = DType::kI64;
  expect_desync(usual, odd, "dtype",
                "rank 1 called all_reduce with 64 x i64, rank 0 with 64 x f32");
  odd = args();
  odd.op = ReduceOp::kMax;
  expect_desync(usual, odd, "op", "rank 1 called all_reduce with op max, rank 0 with op sum");
  expect_desync(usual, args(CollectiveKind::kBroadcast), "kind",
                "rank 1 called broadcast with 64 x f32, rank 0 all_reduce with 64 x f32");
  expect_desync(usual, args(CollectiveKind::kBarrier, 0), "kind",
                "rank 1 called barrier without data, rank 0 all_reduce with 64 x f32");
  usual = odd = args(CollectiveKind::kReduce);
  odd.root = 2;
  expect_desync(usual, odd, "root", "rank 1 called reduce with root 2, rank 0 with root 0");
  EXPECT_EQ(group_->stats().desyncs, 6u);
}

TEST_F(GroupFailure, TheOddRankIsNamedAlsoWhenItIsTheFirst) {
  auto first = group_->submit(0, args(CollectiveKind::kAllReduce, 1));
  auto second = group_->submit(1, args());
  auto third = group_->submit(2, args());
  EXPECT_NE(
      error_of(*third).message().find("rank 0 called all_reduce with 1 x f32, rank 1 with 64"),
      std::string::npos);
}

TEST_F(GroupFailure, RanksThatCallInAnotherOrderAreToldAndGoOn) {
  std::atomic<int> desyncs{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      const auto reduce = CollectiveKind::kAllReduce, barrier = CollectiveKind::kBarrier;
      for (auto kind : {r == 2 ? barrier : reduce, r == 2 ? reduce : barrier}) {
        auto work = group_->submit(r, args(kind));
        if (error_of(*work).code() == ErrorCode::kDesync) desyncs.fetch_add(1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(desyncs.load(), 6);
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFailure, AMissingRankIsNamedWithinTheDeadlineAndTheGroupWorksOnceItPassed) {
  const LogMode before = event_log::mode();
  event_log::set_mode(LogMode::kBasic);
  const auto start = Clock::now();
  std::atomic<int> named{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      auto work = group_->submit(r, args(), 60);
      const Error error = error_of(*work);
      const std::string& fields = error.fields_json();
      const bool good = error.code() == ErrorCode::kCollectiveTimeout &&
                        fields.find("\"missing\":[2]") != std::string::npos &&
                        fields.find("\"sequence\":1") != std::string::npos &&
                        fields.find("\"kind\":\"all_reduce\"") != std::string::npos &&
                        fields.find("\"kind\":\"collective_arrive\"") != std::string::npos &&
                        error.message().find("rank 2 did not arrive") != std::string::npos;
      EXPECT_TRUE(good) << error.message() << fields;
      named.fetch_add(good);
    });
  }
  for (auto& thread : threads) thread.join();
  event_log::set_mode(before);
  const auto waited = Clock::now() - start;
  EXPECT_EQ(named.load(), 2);
  EXPECT_GE(waited, std::chrono::milliseconds(59));
  EXPECT_LT(waited, std::chrono::seconds(5));
  EXPECT_EQ(group_->stats().timeouts, 1u);

  auto late = group_->submit(2, args(), 60);
  EXPECT_EQ(error_of(*late).code(), ErrorCode::kCollectiveTimeout);
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFailure, ACallNobodyWaitsForFailsAtItsDeadlineToo) {
  std::atomic<int> failed{0};
  auto work = group_->submit(1, args(), 40);
  work->on_done([&](const Error* error) {
    failed = error != nullptr && error->code() == ErrorCode::kCollectiveTimeout ? 1 : 2;
    failed.notify_all();
  });
  failed.wait(0);
  EXPECT_EQ(failed.load(), 1);
  // A shorter deadline than one that is watched already is met first.
  auto other = Group::create(devices_);
  auto longer = other->submit(0, args(), 20'000);
  auto shorter = other->submit(1, args(), 20);
  failed = 0;
  longer->on_done([&](const Error* error) {
    failed = error != nullptr ? 1 : 2;
    failed.notify_all();
  });
  failed.wait(0);
  EXPECT_EQ(failed.load(), 1);
  EXPECT_EQ(error_of(*longer).code(), ErrorCode::kCollectiveTimeout);
}

TEST_F(GroupFailure, ARankFarBehindFindsEveryFailedCallInOrder) {
  for (int call = 0; call < 5; ++call) {
    auto first = group_->submit(0, args(), 1);
    auto second = group_->submit(1, args(), 1);
    EXPECT_EQ(error_of(*first).code(), ErrorCode::kCollectiveTimeout);
    EXPECT_EQ(error_of(*second).code(), ErrorCode::kCollectiveTimeout);
  }
  for (uint64_t call = 1; call <= 5; ++call) {
    auto late = group_->submit(2, args());
    EXPECT_EQ(late->sequence(), call);
    EXPECT_EQ(error_of(*late).code(), ErrorCode::kCollectiveTimeout);
  }
  run_checked(*group_, devices_, {.count = 17});
}

// Rank 0 timed out alone: whoever calls for all ranks cannot be a call behind.
TEST_F(GroupFailure, ACallForAllRanksWorksAfterOneRankTimedOut) {
  for (int call = 0; call < 3; ++call) {
    auto early = group_->submit(0, args(), 1);
    EXPECT_EQ(error_of(*early).code(), ErrorCode::kCollectiveTimeout);
  }
  run_checked(*group_, devices_, {.count = 17});
  auto late = group_->submit(1, args(), 1);
  EXPECT_EQ(late->sequence(), 5u);
}

TEST_F(GroupFailure, ACallForAllRanksDoesNotMixWithAnOpenCallOfOneRank) {
  auto early = group_->submit(0, args(), 60'000);
  std::vector<CollectiveArgs> all(3, args());
  try {
    group_->submit_all(all);
    FAIL() << "mixed with the open call of rank 0";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_NE(error.message().find("call 1"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("rank 1"), std::string::npos) << error.message();
  }
  auto second = group_->submit(1, args());
  auto third = group_->submit(2, args());
  EXPECT_EQ(error_of(*early).code(), ErrorCode::kNone);
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFailure, AbortWakesEveryWaiterAndHoldsUntilReset) {
  std::atomic<int> woken{0}, inside{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      auto work = group_->submit(r, args(), 60'000);
      inside.fetch_add(1);
      inside.notify_all();
      if (error_of(*work).code() == ErrorCode::kWorker) woken.fetch_add(1);
    });
  }
  for (int seen = inside.load(); seen < 2; seen = inside.load()) inside.wait(seen);
  group_->abort(Error(ErrorCode::kWorker, "worker 2 died"));
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(woken.load(), 2);
  auto refused = group_->submit(2, args());
  EXPECT_EQ(error_of(*refused).message(), "worker 2 died");
  EXPECT_THROW(refused->synchronize(1'000), Error);
  EXPECT_THROW(refused->stream_wait(devices_[2]->compute()), Error);
  group_->reset();
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFailure, ResetRealignsRanksThatStandAtDifferentCalls) {
  auto first = group_->submit(0, args(), 60'000);
  auto second = group_->submit(0, args(), 60'000);
  group_->abort(Error(ErrorCode::kUsage, "stop"));
  group_->reset();
  EXPECT_EQ(error_of(*second).message(), "stop");
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFailure, BuffersOfAFailedCallAreLetGo) {
  auto token = std::make_shared<int>(0);
  auto kept = args();
  kept.keep_alive = token;
  auto work = group_->submit(0, std::move(kept), 5);
  EXPECT_EQ(token.use_count(), 2);
  EXPECT_EQ(error_of(*work).code(), ErrorCode::kCollectiveTimeout);
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(GroupFailure, WithoutScratchTheCallFailsAtEveryRankAndTheGroupWorksOn) {
  std::vector<Device*> devices = {&test::fresh_device(), &test::fresh_device()};
  auto group = Group::create(devices);
  std::vector<CollectiveArgs> parts(2);
  std::vector<float> values[2] = {std::vector<float>(300'000), std::vector<float>(300'000)};
  int launched = 0;
  for (int r = 0; r < 2; ++r) {
    parts[r].count = 300'000;
    parts[r].in = parts[r].out = values[r].data();
    parts[r].on_launched = [&](Stream&) { ++launched; };
  }
  faults::fail_allocations(devices[1]->ordinal(), 100);
  auto works = group->submit_all(parts);
  for (auto& work : works) EXPECT_EQ(error_of(*work).code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(launched, 0);  // nothing was enqueued
  faults::clear();
  for (Device* device : devices) device->synchronize();
  run_checked(*group, devices, {.count = 300'000});
}

}  // namespace
}  // namespace fabric
