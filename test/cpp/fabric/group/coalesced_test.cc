// Coalesced calls: several collectives that are checked and launched as one. All run in order, with
// the results that they would have alone, or none does.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "collective_run.h"
#include "fabric/event_log.h"
#include "fabric/graph.h"

namespace fabric {
namespace {

using test::Call;
using test::CallBuffers;
using test::host_devices;

const std::vector<Call> kMixed = {
    {.kind = CollectiveKind::kAllReduce, .dtype = DType::kI32, .count = 37, .in_place = true},
    {.kind = CollectiveKind::kAllGather, .dtype = DType::kF64, .count = 501},
    {.kind = CollectiveKind::kBroadcast, .dtype = DType::kF32, .count = 9'000, .root = 1},
    {.kind = CollectiveKind::kAllReduce,
     .op = ReduceOp::kMax,
     .dtype = DType::kF32,
     .count = 700'001},
    {.kind = CollectiveKind::kReduceScatter, .dtype = DType::kI64, .count = 33},
    {.kind = CollectiveKind::kAllToAll, .dtype = DType::kBF16, .count = 12},
    {.kind = CollectiveKind::kAllReduce, .count = 0}};

class Coalesced : public test::CleanFabric {
 protected:
  void SetUp() override {
    devices_ = host_devices(3);
    group_ = Group::create(devices_);
  }
  void TearDown() override { faults::clear(); }

  void make(const std::vector<Call>& calls) {
    for (const Call& call : calls) {
      buffers_.push_back(std::make_unique<CallBuffers>(devices_, call));
    }
  }
  CollectiveArgs part(int rank) const {
    CollectiveArgs args;
    args.kind = CollectiveKind::kCoalesced;
    args.stream = &devices_[static_cast<size_t>(rank)]->compute();
    for (auto& each : buffers_) args.calls.push_back(each->args(rank));
    return args;
  }
  std::vector<CollectiveArgs> parts() const { return {part(0), part(1), part(2)}; }
  void wait_on_device(const std::vector<std::shared_ptr<Work>>& works) {
    for (size_t r = 0; r < works.size(); ++r) {
      works[r]->wait_launched();
      works[r]->stream_wait(devices_[r]->compute());
    }
  }
  void check() {
    for (auto& each : buffers_) each->check();
    buffers_.clear();
  }
  /// What a call says at every rank; nothing of it may have run.
  std::string refused(std::vector<CollectiveArgs> args, ErrorCode code) {
    std::string message;
    for (auto& work : group_->submit_all(args)) {
      try {
        work->wait_launched();
        ADD_FAILURE() << "it was launched";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.message();
        message = error.message();
      }
    }
    for (Device* device : devices_) device->synchronize();
    EXPECT_EQ(group_->stats().calls, launched_);
    return message;
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
  std::vector<std::unique_ptr<CallBuffers>> buffers_;
  uint64_t launched_ = 0;
};

TEST_F(Coalesced, CallsOfEveryKindAndSizeGiveWhatTheyGiveAlone) {
  make(kMixed);
  auto args = parts();
  wait_on_device(group_->submit_all(args));
  check();
}

TEST_F(Coalesced, EachRankCallsFromAThreadOfItsOwn) {
  make(kMixed);
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      auto work = group_->submit(r, part(r));
      work->wait_launched();
      work->stream_wait(devices_[static_cast<size_t>(r)]->compute());
    });
  }
  for (auto& thread : threads) thread.join();
  check();
}

TEST_F(Coalesced, TheyRunInTheirOrder) {
  make({{.dtype = DType::kI32, .count = 50'000, .in_place = true}});
  auto args = parts();
  for (auto& each : args) {  // the sum of sums
    for (int again = 0; again < 3; ++again) each.calls.push_back(each.calls[0]);
  }
  const auto* first = static_cast<const int32_t*>(args[0].calls[0].out);
  devices_[0]->synchronize();
  const int64_t before = test::reduced_value({.dtype = DType::kI32, .count = 50'000}, 3, 7);
  wait_on_device(group_->submit_all(args));
  devices_[0]->synchronize();
  EXPECT_EQ(first[7], before * 27);
  for (Device* device : devices_) device->synchronize();
  for (auto& each : buffers_) each->release();
}

TEST_F(Coalesced, TheyAreOneCallOfTheGroupAndOneRecordInTheLog) {
  event_log::set_mode(LogMode::kBasic);
  const uint64_t since = event_log::read(0, 1).next_sequence;
  make(kMixed);
  uint64_t bytes = 0;
  auto args = parts();
  for (const Call& call : kMixed) bytes += call.count * dtype_bytes(call.dtype);
  wait_on_device(group_->submit_all(args));
  check();
  EXPECT_EQ(group_->stats().calls, 1u);
  EXPECT_EQ(group_->stats().bytes, bytes);
  int arrivals = 0, launches = 0;
  for (const EventRecord& e : event_log::read(since, 1 << 16).events) {
    if (e.detail >> 8 != group_->id() || e.id != 1) continue;
    arrivals += e.kind == static_cast<uint8_t>(EventKind::kCollectiveArrive);
    launches += e.kind == static_cast<uint8_t>(EventKind::kCollectiveLaunch);
    EXPECT_EQ(e.detail & 0xff, static_cast<uint32_t>(CollectiveKind::kCoalesced));
  }
  EXPECT_EQ(arrivals, 3);
  EXPECT_EQ(launches, 3);
  event_log::set_mode(LogMode::kOff);
}

TEST_F(Coalesced, ADifferenceInOneCallIsTheDesyncOfAllAndNoneRuns) {
  make({{.dtype = DType::kI32, .count = 100}, {.dtype = DType::kI32, .count = 60}});
  auto args = parts();
  args[2].calls[1].count = 59;
  const std::string site = " of group " + std::to_string(group_->id()) + ")";
  EXPECT_EQ(refused(args, ErrorCode::kDesync),
            "rank 2 called all_reduce with 59 x i32, rank 0 with 60 x i32 as coalesced call 2 of 2 "
            "(call 1" +
                site);
  args = parts();
  args[1].calls.pop_back();
  EXPECT_EQ(refused(args, ErrorCode::kDesync),
            "rank 1 called coalesced of 1 calls, rank 0 of 2 calls (call 2" + site);
  args = parts();
  std::swap(args[0].calls[0], args[0].calls[1]);
  refused(args, ErrorCode::kDesync);
  EXPECT_EQ(group_->stats().desyncs, 3u);
  args = parts();
  wait_on_device(group_->submit_all(args));  // and the group works
  check();
}

TEST_F(Coalesced, AWrongArgumentOrALackOfMemoryInTheLastLeavesAllUndone) {
  make({{.dtype = DType::kI32, .count = 100}, {.dtype = DType::kI32, .count = 60}});
  auto args = parts();
  args[1].calls[1].out = nullptr;
  EXPECT_EQ(refused(args, ErrorCode::kUsage),
            "all_reduce as coalesced call 2 of 2: rank 1 gave no output for 60 x i32");
  args = parts();
  // Its scratch is more than any cache holds, and the device gives nothing.
  std::vector<Block*> large;
  for (size_t r = 0; r < 3; ++r) {
    large.push_back(devices_[r]->allocator().allocate(64u << 20, devices_[r]->compute()));
    args[r].calls[1].count = 16u << 20;
    args[r].calls[1].in = args[r].calls[1].out = large[r]->ptr;
  }
  devices_[1]->allocator().release_cached();
  faults::fail_allocations(1, 1'000'000);
  refused(args, ErrorCode::kOutOfMemory);
  faults::clear();
  for (size_t r = 0; r < 3; ++r) devices_[r]->allocator().free(large[r]);
  args = parts();
  wait_on_device(group_->submit_all(args));
  check();  // the outputs are guarded and were still as filled
}

TEST_F(Coalesced, WhatCannotBeCoalescedIsRefusedByName) {
  for (CollectiveKind kind :
       {CollectiveKind::kReplay, CollectiveKind::kSendReceive, CollectiveKind::kCoalesced}) {
    auto args = parts();
    for (auto& each : args) each.calls.emplace_back().kind = kind;
    const std::string message = refused(args, ErrorCode::kUsage);
    EXPECT_EQ(message.find(std::string("a ") + collective_name(kind) + " cannot be coalesced"), 0u)
        << message;
  }
}

TEST_F(Coalesced, NoCallsAtAllAreAMeetingOfTheRanks) {
  auto args = parts();
  for (auto& each : args) each.vote = 4;
  for (auto& work : group_->submit_all(args)) {
    EXPECT_TRUE(work->synchronize(30'000));
    EXPECT_EQ(work->votes(), 4u);
  }
}

TEST_F(Coalesced, ACaptureTakesThemAll) {
  make(kMixed);
  std::vector<Stream*> streams;
  for (Device* device : devices_) streams.push_back(&device->compute());
  for (Device* device : devices_) device->synchronize();
  auto args = parts();
  auto capture = Capture::begin(streams);
  wait_on_device(group_->submit_all(args));
  auto graph = capture->end();
  for (int replay = 0; replay < 2; ++replay) {
    for (auto& each : buffers_) each->fill();
    graph->launch(streams);
    for (auto& each : buffers_) each->compare();
  }
  check();
}

TEST_F(Coalesced, OwnersOfAllBuffersHearOfTheLaunch) {
  make({{.count = 10}, {.count = 20}});
  auto args = parts();
  int told = 0;
  auto token = std::make_shared<int>(0);
  std::weak_ptr<int> alive = token;
  for (auto& each : args) {
    for (auto& call : each.calls) {
      call.on_launched = [&](Stream&) { ++told; };
      call.keep_alive = token;
    }
  }
  token.reset();
  wait_on_device(group_->submit_all(args));
  args.clear();
  EXPECT_EQ(told, 6);
  EXPECT_TRUE(alive.expired());
  check();
}

}  // namespace
}  // namespace fabric
