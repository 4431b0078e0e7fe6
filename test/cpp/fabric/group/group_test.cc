// Groups: ranks meet from their own threads, launch once for all, and agree on what they call.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "collective_run.h"

namespace fabric {
namespace {

using test::Call;
using test::CallBuffers;
using test::Gate;
using test::host_devices;
using test::run_checked;

class GroupTest : public test::CleanFabric {
 protected:
  // Runs body(rank) on a thread for each rank.
  template <typename Body>
  static void on_threads(int ranks, Body body) {
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks; ++r) threads.emplace_back([=] { body(r); });
    for (auto& thread : threads) thread.join();
  }
};

TEST_F(GroupTest, ARankThreadEachInRandomOrderOverAThousandCalls) {
  constexpr int kRanks = 4, kCalls = 1000, kMost = 3'000;
  auto devices = host_devices(kRanks);
  auto group = Group::create(devices);
  std::atomic<int> wrong{0};
  on_threads(kRanks, [&](int r) {
    std::mt19937 shared(5), own(100 + r);  // the calls are the same at all ranks, the timing is not
    Stream& stream = devices[r]->compute();
    Block* block = devices[r]->allocator().allocate(kMost * sizeof(int32_t), stream);
    auto* data = static_cast<int32_t*>(block->ptr);
    for (int call = 0; call < kCalls; ++call) {
      const uint64_t count = shared() % 10 == 0 ? kMost : 1 + shared() % 40;
      const bool broadcast = shared() % 4 == 0;
      const int root = static_cast<int>(shared() % kRanks);
      if (own() % 3 == 0) std::this_thread::yield();
      host::enqueue(stream.handle(), [=] {
        for (uint64_t i = 0; i < count; ++i) data[i] = r * 1000 + call + static_cast<int>(i);
      });
      CollectiveArgs args;
      args.kind = broadcast ? CollectiveKind::kBroadcast : CollectiveKind::kAllReduce;
      args.dtype = DType::kI32;
      args.count = count;
      args.root = root;
      args.in = args.out = data;
      args.stream = &stream;
      auto work = group->submit(r, args);
      work->wait_launched();
      work->stream_wait(stream);
      host::enqueue(stream.handle(), [=, &wrong] {
        for (uint64_t i = 0; i < count; ++i) {
          const int own_part = call + static_cast<int>(i);
          const int expected = broadcast ? root * 1000 + own_part
                                         : kRanks * (kRanks - 1) / 2 * 1000 + kRanks * own_part;
          if (data[i] != expected) wrong.fetch_add(1);
        }
      });
      if (call % 50 == 0 && !work->synchronize(30'000)) wrong.fetch_add(1);
    }
    stream.synchronize();
    devices[r]->allocator().free(block);
  });
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(group->stats().calls, static_cast<uint64_t>(kCalls));
}

TEST_F(GroupTest, ASlowDeviceDelaysTheResultButNeverChangesIt) {
  auto devices = host_devices(4);
  auto group = Group::create(devices);
  faults::set_device_delay_us(1, 3'000);
  for (CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kBroadcast, CollectiveKind::kAllGather,
        CollectiveKind::kReduceScatter, CollectiveKind::kReduce}) {
    for (uint64_t count : {3, 30'000}) {
      run_checked(*group, devices, {.kind = kind, .count = count, .root = 1, .in_place = true});
    }
  }
}

TEST_F(GroupTest, TheWorkStartsOnlyAfterEveryProducerStream) {
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  CallBuffers buffers(devices, {.count = 100, .in_place = true});
  Gate gate;
  gate.hold(devices[2]->compute());
  std::vector<std::shared_ptr<Work>> works;
  for (int r = 0; r < 3; ++r) works.push_back(group->submit(r, buffers.args(r)));
  works[0]->wait_launched();
  EXPECT_TRUE(works[1]->launched());
  EXPECT_FALSE(works[0]->done());
  EXPECT_FALSE(works[0]->synchronize(1));
  gate.open();
  EXPECT_TRUE(works[0]->synchronize(30'000));
  EXPECT_TRUE(works[0]->done());
  for (int r = 0; r < 3; ++r) works[r]->stream_wait(devices[r]->compute());
  buffers.check();
}

TEST_F(GroupTest, CallsFollowEachOtherOnTheSameBufferWithoutTheHostWaiting) {
  auto devices = host_devices(4);
  auto group = Group::create(devices);
  Block* blocks[4];
  for (int r = 0; r < 4; ++r) {
    Stream& stream = devices[r]->compute();
    blocks[r] = devices[r]->allocator().allocate(sizeof(double) * 3'000, stream);
    host::enqueue(stream.handle(), [data = static_cast<double*>(blocks[r]->ptr)] {
      for (int i = 0; i < 3'000; ++i) data[i] = 1;
    });
  }
  std::vector<std::shared_ptr<Work>> works;
  for (int call = 0; call < 10; ++call) {  // sizes alternate between the two algorithms
    std::vector<CollectiveArgs> args(4);
    for (int r = 0; r < 4; ++r) {
      args[r].dtype = DType::kF64;
      args[r].count = 3'000;
      args[r].in = args[r].out = blocks[r]->ptr;
      if (call == 0) args[r].stream = &devices[r]->compute();
    }
    force_algorithm(call % 2 == 0 ? "copy-ring" : "copy-oneshot");
    works = group->submit_all(args);
  }
  for (auto& work : works) ASSERT_TRUE(work->synchronize(30'000));
  for (int r = 0; r < 4; ++r) {
    EXPECT_EQ(static_cast<double*>(blocks[r]->ptr)[2'999], 1 << 20);  // 4^10
    devices[r]->allocator().free(blocks[r]);
  }
}

TEST_F(GroupTest, VotesAreOrCombinedAndKnownAtLaunch) {
  auto devices = host_devices(4);
  auto group = Group::create(devices);
  std::atomic<uint64_t> seen{0};
  on_threads(4, [&](int r) {
    CollectiveArgs args;
    args.kind = CollectiveKind::kBarrier;
    args.vote = uint64_t{1} << (r * 10);
    auto work = group->submit(r, args);
    work->wait_launched();
    if (work->votes() == (1ull | 1ull << 10 | 1ull << 20 | 1ull << 30)) seen.fetch_add(1);
  });
  EXPECT_EQ(seen.load(), 4u);
}

TEST_F(GroupTest, ABarrierHoldsEveryRankUntilTheSlowestProducerPassed) {
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  Gate gate;
  gate.hold(devices[1]->compute());
  std::vector<CollectiveArgs> args(3);
  for (int r = 0; r < 3; ++r) {
    args[r].kind = CollectiveKind::kBarrier;
    args[r].stream = &devices[r]->compute();
  }
  auto works = group->submit_all(args);
  works[0]->stream_wait(devices[0]->compute());
  EXPECT_FALSE(devices[0]->compute().idle());
  gate.open();
  for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
}

TEST_F(GroupTest, OnLaunchedRunsOnceForEachRankAndKeepAliveEndsThere) {
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  auto token = std::make_shared<int>(0);
  std::weak_ptr<int> alive = token;
  std::vector<Stream*> launched_on(3, nullptr);
  std::vector<CollectiveArgs> args(3);
  for (int r = 0; r < 3; ++r) {
    args[r].kind = CollectiveKind::kBarrier;
    args[r].keep_alive = token;
    args[r].on_launched = [&, r](Stream& comm) {
      EXPECT_EQ(launched_on[r], nullptr);
      EXPECT_FALSE(alive.expired());
      launched_on[r] = &comm;
    };
  }
  token.reset();
  auto first = group->submit(0, std::move(args[0]));
  auto second = group->submit(1, std::move(args[1]));
  EXPECT_FALSE(alive.expired());
  auto third = group->submit(2, std::move(args[2]));
  first->wait_launched();
  for (int r = 0; r < 3; ++r) EXPECT_EQ(launched_on[r], &group->stream(r));
  args.clear();
  EXPECT_TRUE(alive.expired());
}

TEST_F(GroupTest, OnDoneIsCalledOnceForEachRankWhenTheResultIsThere) {
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  for (bool before_launch : {true, false}) {
    CallBuffers buffers(devices, {.count = 50'000, .in_place = true});
    Gate gate;
    gate.hold(devices[0]->compute());
    std::atomic<int> calls{0}, failures{0};
    auto watch = [&](Work& work) {
      work.on_done([&](const Error* error) {
        failures.fetch_add(error != nullptr);
        calls.fetch_add(1);
        calls.notify_all();
      });
    };
    std::vector<std::shared_ptr<Work>> works;
    for (int r = 0; r < 3; ++r) {
      works.push_back(group->submit(r, buffers.args(r)));
      if (before_launch && r < 2) watch(*works[r]);
    }
    for (int r = before_launch ? 2 : 0; r < 3; ++r) watch(*works[r]);
    EXPECT_EQ(calls.load(), 0);
    gate.open();
    for (int seen = calls.load(); seen < 3; seen = calls.load()) calls.wait(seen);
    EXPECT_EQ(failures.load(), 0);
    for (int r = 0; r < 3; ++r) EXPECT_TRUE(works[r]->done());
    std::atomic<bool> late{false};
    works[0]->on_done([&](const Error* error) { late = error == nullptr; });
    EXPECT_TRUE(late.load());  // done already: called at once
    for (int r = 0; r < 3; ++r) works[r]->stream_wait(devices[r]->compute());
    buffers.check();
  }
}

TEST_F(GroupTest, GroupsThatShareDevicesInAnyOrderDoNotDeadlock) {
  auto devices = host_devices(4);
  std::vector<std::vector<Device*>> sets = {
      {devices[0], devices[1], devices[2], devices[3]},
      {devices[3], devices[2], devices[1], devices[0]},
      {devices[2], devices[0]},
  };
  std::vector<std::shared_ptr<Group>> groups;
  for (auto& set : sets) groups.push_back(Group::create(set));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t g = 0; g < groups.size(); ++g) {
    const int n = groups[g]->size();
    for (int r = 0; r < n; ++r) {
      threads.emplace_back([&, g, r, n] {
        Device& device = groups[g]->device(r);
        Block* block = device.allocator().allocate(40'000, device.compute());
        auto* data = static_cast<int32_t*>(block->ptr);
        for (int call = 0; call < 150; ++call) {
          const uint64_t count = call % 5 == 0 ? 10'000 : 20;
          host::enqueue(device.compute().handle(), [=] {
            for (uint64_t i = 0; i < count; ++i) data[i] = r + call;
          });
          CollectiveArgs args;
          args.dtype = DType::kI32;
          args.count = count;
          args.in = args.out = data;
          args.stream = &device.compute();
          auto work = groups[g]->submit(r, args);
          if (!work->synchronize(30'000)) wrong.fetch_add(1);
          if (data[count - 1] != n * (n - 1) / 2 + n * call) wrong.fetch_add(1);
          work->stream_wait(device.compute());
        }
        device.allocator().free(block);
      });
    }
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(GroupTest, TheLogTellsArrivalsLaunchesAndEndsOfEachCall) {
  auto devices = host_devices(2);
  auto group = Group::create(devices);
  const LogMode before = event_log::mode();
  event_log::set_mode(LogMode::kBasic);
  const uint64_t since = event_log::read(0, 0).next_sequence;
  run_checked(*group, devices, {.count = 20'000});
  for (Device* device : devices) device->synchronize();
  event_log::set_mode(before);
  int arrive = 0, launch = 0, done = 0;
  for (const EventRecord& event : event_log::read(since, 100'000).events) {
    if (event.detail != group->id() << 8) continue;  // all_reduce is kind 0
    const auto kind = static_cast<EventKind>(event.kind);
    arrive += kind == EventKind::kCollectiveArrive && event.id == 1;
    launch += kind == EventKind::kCollectiveLaunch && event.bytes == 80'000;
    done += kind == EventKind::kCollectiveDone;
  }
  EXPECT_EQ(arrive, 2);
  EXPECT_EQ(launch, 2);
  EXPECT_EQ(done, 2);
}

// One id and detail join a call's arrivals, choice, copies, sums, launches and ends.
TEST_F(GroupTest, TheLogTellsWhichCopiesAndSumsBelongToACall) {
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  const LogMode before = event_log::mode();
  struct Expected {
    Call call;
    const char* algorithm;
    int copies, sums;
  };
  const Expected cases[] = {
      {{.count = 5'000}, "copy-oneshot", 6, 6},                // 2 fetches and 2 sums a rank
      {{.count = 9, .in_place = true}, "copy-oneshot", 0, 3},  // at once, where streams are idle
      {{.count = 30'000}, "copy-ring", 12, 6},                 // 4 pushes, 2 sums a rank
      {{.kind = CollectiveKind::kAllGather, .count = 30'000}, "copy-ring", 9, 0},
      {{.kind = CollectiveKind::kBroadcast, .count = 5'000, .root = 1}, "copy-oneshot", 3, 0},
  };
  for (const Expected& expected : cases) {
    for (Device* device : devices) device->synchronize();
    event_log::set_mode(LogMode::kBasic);
    const uint64_t since = event_log::read(0, 0).next_sequence;
    run_checked(*group, devices, expected.call);
    for (Device* device : devices) device->synchronize();
    event_log::set_mode(before);
    const uint64_t id = group->stats().calls;
    const uint32_t detail = static_cast<uint32_t>(expected.call.kind) | group->id() << 8;
    int copies = 0, sums = 0, strangers = 0, done = 0;
    std::string chosen;
    for (const EventRecord& event : event_log::read(since, 100'000).events) {
      const auto kind = static_cast<EventKind>(event.kind);
      const bool of_call = event.id == id && event.detail == detail;
      copies += kind == EventKind::kCopy && of_call;
      strangers += kind == EventKind::kCopy && !of_call;
      sums += kind == EventKind::kCollectiveCombine && of_call;
      done += kind == EventKind::kCollectiveDone && of_call;
      if (kind == EventKind::kPlugin && of_call) chosen = algorithms()[event.extra]->name;
    }
    const std::string where = expected.call.text(3);
    EXPECT_EQ(chosen, expected.algorithm) << where;
    if (expected.copies != 0) {
      EXPECT_EQ(copies, expected.copies) << where;
    }
    EXPECT_EQ(strangers, 0) << where;
    if (expected.copies != 0)
      EXPECT_EQ(sums, expected.sums) << where;
    else
      EXPECT_GE(sums, expected.sums) << where;
    EXPECT_EQ(done, 3) << where;
  }
}

TEST_F(GroupTest, WrongUseIsRefusedByName) {
  auto devices = host_devices(2);
  EXPECT_THROW(Group::create({}), Error);
  EXPECT_THROW(Group::create({devices[0], devices[0]}), Error);
  auto group = Group::create(devices);
  EXPECT_THROW(group->submit(2, {}), Error);
  EXPECT_THROW(group->device(-1), Error);
  std::vector<CollectiveArgs> one(1);
  EXPECT_THROW(group->submit_all(one), Error);
  std::vector<CollectiveArgs> bad(2);
  for (auto& part : bad) {
    part.kind = CollectiveKind::kBroadcast;
    part.root = 7;
  }
  auto works = group->submit_all(bad);
  EXPECT_THROW(works[0]->wait_launched(), Error);
  EXPECT_THROW(works[1]->wait_launched(), Error);
  run_checked(*group, devices, {.count = 9});
}

}  // namespace
}  // namespace fabric
