// Gather, scatter and all-to-all against a plain reference, and what they refuse.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "collective_run.h"
#include "fabric/event_log.h"

namespace fabric {
namespace {

using test::Call;
using test::CallBuffers;
using test::host_devices;
using test::run_checked;

constexpr CollectiveKind kKinds[] = {CollectiveKind::kGather, CollectiveKind::kScatter,
                                     CollectiveKind::kAllToAll};

class Direct : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    devices_ = host_devices(GetParam());
    group_ = Group::create(devices_);
  }
  void TearDown() override { faults::clear(); }

  void run_all(uint64_t count, DType dtype) {
    for (CollectiveKind kind : kKinds) {
      for (bool in_place : {false, true}) {
        for (int root : {0, GetParam() - 1}) {
          run_checked(*group_, devices_, {kind, ReduceOp::kSum, dtype, count, root, in_place});
        }
      }
    }
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
};

TEST_P(Direct, MatchesTheReferenceForEveryDtypeAndCountInAndOutOfPlace) {
  for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
    for (uint64_t count : {0, 1, 7, 1'003}) run_all(count, static_cast<DType>(dtype));
  }
  run_all((256 << 10) + 3, DType::kF32);
}

TEST_P(Direct, IsCorrectThroughStagingWhenPeerAccessIsLost) {
  for (int other = 1; other < GetParam(); ++other) faults::set_peer_access(0, other, false);
  for (uint64_t count : {5, 3'000}) run_all(count, DType::kF32);
  // Several pieces a block; under ThreadSanitizer more ranks take minutes.
  if (GetParam() <= 3) run_all((1 << 20) + 3, DType::kF64);
}

TEST_P(Direct, WaitsForALateProducer) {
  faults::set_device_delay_us(GetParam() - 1, 300);
  for (int round = 0; round < 3; ++round) run_all(129, DType::kI32);
}

TEST_P(Direct, CopiesEachBlockOnceWhateverTheSize) {
  const auto n = static_cast<uint64_t>(GetParam());
  for (CollectiveKind kind : kKinds) {
    for (uint64_t count : {64, 512 << 10}) {
      const LogMode before = event_log::mode();
      event_log::set_mode(LogMode::kBasic);
      const uint64_t since = event_log::read(0, 0).next_sequence;
      run_checked(*group_, devices_, {kind, ReduceOp::kSum, DType::kF32, count, 0, false});
      event_log::set_mode(before);
      const EventSlice slice = event_log::read(since, event_log::capacity());
      ASSERT_EQ(slice.dropped, 0u);
      uint64_t copies = 0;
      for (const EventRecord& event : slice.events) {
        copies += static_cast<EventKind>(event.kind) == EventKind::kCopy ? 1 : 0;
      }
      EXPECT_EQ(copies, kind == CollectiveKind::kAllToAll ? n * n : n) << collective_name(kind);
    }
  }
}

TEST_P(Direct, ARankThreadEach) {
  for (CollectiveKind kind : kKinds) {
    CallBuffers buffers(devices_, {kind, ReduceOp::kSum, DType::kI64, 301, GetParam() - 1, true});
    std::vector<std::thread> threads;
    for (int r = 0; r < GetParam(); ++r) {
      threads.emplace_back([&, r] {
        auto work = group_->submit(r, buffers.args(r));
        work->wait_launched();
        work->stream_wait(devices_[static_cast<size_t>(r)]->compute());
      });
    }
    for (auto& thread : threads) thread.join();
    buffers.check();
  }
}

INSTANTIATE_TEST_SUITE_P(OverRanks, Direct, ::testing::Values(1, 2, 3, 4, 5, 8),
                         [](const auto& info) { return std::to_string(info.param); });

class DirectErrors : public test::CleanFabric {
 protected:
  // Submits after `change` was done to the ranks' parts; the error that each rank got.
  template <typename Change>
  static std::vector<Error> errors_of(CollectiveKind kind, Change change) {
    auto devices = host_devices(3);
    auto group = Group::create(devices);
    CallBuffers buffers(devices, {kind, ReduceOp::kSum, DType::kF32, 12, 1, false});
    std::vector<CollectiveArgs> args, good;
    for (int r = 0; r < 3; ++r) args.push_back(buffers.args(r));
    good = args;
    change(args);
    std::vector<Error> errors;
    for (auto& work : group->submit_all(args)) {
      try {
        work->wait_launched();
      } catch (const Error& error) {
        errors.push_back(error);
      }
    }
    auto works = group->submit_all(good);  // nothing is lost
    for (size_t r = 0; r < 3; ++r) {
      works[r]->wait_launched();
      works[r]->stream_wait(devices[r]->compute());
    }
    buffers.check();
    return errors;
  }
};

TEST_F(DirectErrors, WhatDiffersIsADesyncAtEveryRankThatNamesTheRankAndTheOperation) {
  for (CollectiveKind kind : kKinds) {
    const auto count = errors_of(kind, [](auto& args) { args[2].count = 11; });
    const auto dtype = errors_of(kind, [](auto& args) { args[0].dtype = DType::kI32; });
    const auto other = errors_of(kind, [](auto& args) { args[1].kind = CollectiveKind::kReduce; });
    const std::vector<Error>* all[] = {&count, &dtype, &other};
    const char* rank[] = {"rank 2", "rank 0", "rank 1"};
    const char* differs[] = {"\"differs\":\"count\"", "\"differs\":\"dtype\"",
                             "\"differs\":\"kind\""};
    for (size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(all[i]->size(), 3u) << collective_name(kind);
      for (const Error& error : *all[i]) {
        EXPECT_EQ(error.code(), ErrorCode::kDesync);
        EXPECT_NE(std::string(error.what()).find(rank[i]), std::string::npos) << error.what();
        EXPECT_NE(error.fields_json().find(differs[i]), std::string::npos) << error.fields_json();
        EXPECT_NE(std::string(error.what()).find(collective_name(kind)), std::string::npos);
      }
    }
    if (kind == CollectiveKind::kAllToAll) continue;
    const auto root = errors_of(kind, [](auto& args) { args[2].root = 0; });
    ASSERT_EQ(root.size(), 3u);
    EXPECT_EQ(root[0].code(), ErrorCode::kDesync);
  }
}

TEST_F(DirectErrors, BuffersThatOverlapInPartOrAreMissingAreNamed) {
  const auto partly = errors_of(CollectiveKind::kAllToAll, [](auto& args) {
    args[1].in = static_cast<char*>(args[1].out) + 4;
  });
  ASSERT_EQ(partly.size(), 3u);
  EXPECT_EQ(partly[0].code(), ErrorCode::kUsage);
  EXPECT_NE(std::string(partly[0].what()).find("rank 1 overlap in part"), std::string::npos);
  const auto root =
      errors_of(CollectiveKind::kGather, [](auto& args) { args[1].in = args[1].out; });
  ASSERT_EQ(root.size(), 3u);  // the root is rank 1, whose block is not the first
  EXPECT_EQ(root[0].code(), ErrorCode::kUsage);
  const auto missing =
      errors_of(CollectiveKind::kScatter, [](auto& args) { args[1].in = nullptr; });
  ASSERT_EQ(missing.size(), 3u);
  EXPECT_NE(std::string(missing[2].what()).find("rank 1 gave no input"), std::string::npos);
}

}  // namespace
}  // namespace fabric
