// Several groups over the same devices: calls of one run while those of another are held up, up to
// the number of channels; beyond it groups share one. Kernels that wait for each other take turns.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "collective_run.h"
#include "fabric/graph.h"

namespace fabric {
namespace {

using test::Call;
using test::CallBuffers;
using test::Gate;
using test::host_devices;

class ConcurrentGroups : public test::CleanFabric {};

// What calls of the algorithm below did: how many ranks are inside on a physical device, and of which
// group the latest was; how often those of two groups were there together.
struct Room {
  std::atomic<int> inside{0};
  std::atomic<uint32_t> group{0};
};
Room g_rooms[64];
std::atomic<int> g_mixed{0}, g_ran{0};

/// A barrier whose ranks are inside together, as kernels that wait for each other are.
class TogetherCall final : public PreparedCall {
 public:
  TogetherCall(const CollectiveCall& call, uint32_t group) : group_(group) {
    for (size_t r = 0; r < call.devices.size(); ++r) comms_.push_back(&call.comm(r));
  }
  void enqueue() override {
    for (Stream* comm : comms_) {
      host::enqueue(comm->handle(), [group = group_, &room = g_rooms[comm->device().ordinal()]] {
        const uint32_t before = room.group.exchange(group);
        if (room.inside.fetch_add(1) > 0 && before != group) ++g_mixed;
      });
    }
    std::vector<Event> here;
    for (Stream* comm : comms_) here.emplace_back(comm->device()).record(*comm);
    for (Stream* comm : comms_) {
      for (Event& event : here) event.wait(*comm);
    }
    for (Stream* comm : comms_) {
      host::enqueue(comm->handle(), [&room = g_rooms[comm->device().ordinal()]] {
        room.inside.fetch_sub(1);
        ++g_ran;
      });
    }
  }

 private:
  const uint32_t group_;
  std::vector<Stream*> comms_;
};

class TogetherSession final : public AlgorithmSession {
 public:
  explicit TogetherSession(uint32_t group) : group_(group) {}
  std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) override {
    return std::make_unique<TogetherCall>(call, group_);
  }

 private:
  const uint32_t group_;
};

/// Barriers go to it while this lives.
class Together {
 public:
  Together() {
    g_mixed = g_ran = 0;
    Algorithm algorithm{"test-together", true,
                        [](const CallShape& c) { return c.kind == CollectiveKind::kBarrier; }};
    algorithm.joins = true;
    algorithm.open = [](const GroupMembers& members) -> std::unique_ptr<AlgorithmSession> {
      return std::make_unique<TogetherSession>(members.id);
    };
    register_algorithm(algorithm);
    force_algorithm("test-together");
  }
  ~Together() {
    force_algorithm("");
    unregister_algorithm("test-together");
  }
};

std::vector<std::shared_ptr<Work>> barrier(Group& group, bool joins = false) {
  std::vector<CollectiveArgs> args(static_cast<size_t>(group.size()));
  for (size_t r = 0; r < args.size(); ++r) {
    args[r].kind = CollectiveKind::kBarrier;
    args[r].stream = &group.device(static_cast<int>(r)).compute();
    args[r].joins = joins;
  }
  return group.submit_all(args);
}

/// Calls for all ranks; the compute streams wait for the result.
std::vector<std::shared_ptr<Work>> submit(Group& group, const CallBuffers& buffers) {
  std::vector<CollectiveArgs> args;
  for (int r = 0; r < group.size(); ++r) args.push_back(buffers.args(r));
  return group.submit_all(args);
}

void wait_on_device(Group& group, const std::vector<std::shared_ptr<Work>>& works) {
  for (int r = 0; r < group.size(); ++r) {
    works[static_cast<size_t>(r)]->wait_launched();
    works[static_cast<size_t>(r)]->stream_wait(group.device(r).compute());
  }
}

bool all_done(const std::vector<std::shared_ptr<Work>>& works) {
  for (auto& work : works) {
    if (!work->done()) return false;
  }
  return true;
}

TEST_F(ConcurrentGroups, AGroupFinishesWhileAnotherOverTheSameDevicesIsHeld) {
  auto devices = host_devices(3);
  auto first = Group::create(devices), second = Group::create(devices);
  for (CollectiveKind kind : {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                              CollectiveKind::kBroadcast, CollectiveKind::kAllToAll}) {
    for (uint64_t count : {1'000, 3'000'000}) {  // the larger one pushes on a stream of its own
      const Call call{.kind = kind, .dtype = DType::kI32, .count = count};
      Gate gate;
      gate.hold(first->stream(1));
      CallBuffers held(devices, call), free(devices, call);
      auto late = submit(*first, held);
      auto early = submit(*second, free);
      wait_on_device(*second, early);
      for (auto& work : early) EXPECT_TRUE(work->synchronize(20'000)) << call.text(3);
      free.check();
      EXPECT_FALSE(all_done(late)) << call.text(3) << ": the gate holds it";
      gate.open();
      wait_on_device(*first, late);
      held.check();
    }
  }
}

TEST_F(ConcurrentGroups, ASubgroupIsNotHeldUpByTheWholeGroup) {
  auto devices = host_devices(4);
  auto whole = Group::create(devices), half = Group::create({devices[1], devices[3]});
  Gate gate;
  gate.hold(whole->stream(3));
  auto late = barrier(*whole);
  for (auto& work : barrier(*half)) EXPECT_TRUE(work->synchronize(20'000));
  EXPECT_FALSE(all_done(late));
  gate.open();
  for (auto& work : late) EXPECT_TRUE(work->synchronize(30'000));
}

TEST_F(ConcurrentGroups, GroupsBeyondTheChannelsShareOneAndADisposedGroupGivesItsBack) {
  std::vector<Device*> devices{&test::fresh_device(), &test::fresh_device()};
  std::vector<std::shared_ptr<Group>> groups;
  for (int i = 0; i < Device::kChannels; ++i) {
    groups.push_back(Group::create(devices));
    for (int j = 0; j < i; ++j) EXPECT_NE(&groups[i]->stream(0), &groups[j]->stream(0));
  }
  EXPECT_EQ(&groups[0]->stream(1), &devices[1]->comm());
  auto one_more = Group::create(devices);
  EXPECT_EQ(&one_more->stream(0), &groups[0]->stream(0));
  Stream* given = &groups[2]->stream(1);
  groups[2].reset();
  EXPECT_EQ(&Group::create(devices)->stream(1), given);
  const size_t made = devices[0]->streams().size();
  for (int i = 0; i < 100; ++i) Group::create(devices);
  EXPECT_EQ(devices[0]->streams().size(), made) << "groups make no streams without bound";
  for (auto& work : barrier(*one_more)) EXPECT_TRUE(work->synchronize(30'000));
}

TEST_F(ConcurrentGroups, ACallOfADisposedGroupEndsAndItsChannelGoesOn) {
  auto devices = host_devices(2);
  auto first = Group::create(devices);
  Gate gate;
  gate.hold(first->stream(0));
  auto late = barrier(*first);
  first.reset();
  auto next = Group::create(devices);  // takes the channel, behind what is there
  auto works = barrier(*next);
  gate.open();
  for (auto& work : late) EXPECT_TRUE(work->synchronize(30'000));
  for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
}

TEST_F(ConcurrentGroups, TheDeadlineOfAHeldGroupLeavesTheOtherAlone) {
  auto devices = host_devices(2);
  auto first = Group::create(devices), second = Group::create(devices);
  Gate gate;
  gate.hold(first->stream(0));
  std::vector<CollectiveArgs> args(2);
  for (auto& each : args) {
    each.kind = CollectiveKind::kBarrier;
    each.result_ms = 100;
  }
  auto late = first->submit_all(args);
  EXPECT_THROW(late[0]->synchronize(30'000), Error);
  for (auto& work : barrier(*second)) EXPECT_TRUE(work->synchronize(20'000));
  gate.open();
  for (auto& work : barrier(*first)) EXPECT_TRUE(work->synchronize(30'000));
  EXPECT_EQ(second->stats().timeouts, 0u);
}

TEST_F(ConcurrentGroups, KernelsThatWaitForEachOtherTakeTurnsOverGroups) {
  const Together together;
  auto devices = host_devices(3);
  auto first = Group::create(devices);
  auto second = Group::create({devices[2], devices[1]});
  Gate gate;
  gate.hold(first->stream(2));
  auto late = barrier(*first);
  auto behind = barrier(*second);
  auto again = barrier(*first);
  EXPECT_FALSE(behind[0]->synchronize(50)) << "its kernels came while those of the first may run";
  gate.open();
  for (auto& works : {late, behind, again}) {
    for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
  }
  EXPECT_EQ(g_ran, 3 + 2 + 3);
  EXPECT_EQ(g_mixed, 0);
}

TEST_F(ConcurrentGroups, VirtualDevicesOfOneGpuTakeTurnsOverGroupsThatShareNone) {
  const Together together;
  std::vector<Device*> parts;
  for (int i = 0; i < 4; ++i) parts.push_back(&open_device("host:5/" + std::to_string(i), 4));
  auto first = Group::create({parts[0], parts[1]}), second = Group::create({parts[2], parts[3]});
  Gate gate;
  gate.hold(first->stream(0));
  auto late = barrier(*first);
  auto behind = barrier(*second);
  EXPECT_FALSE(behind[1]->synchronize(50));
  gate.open();
  for (auto& works : {late, behind}) {
    for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
  }
  EXPECT_EQ(g_mixed, 0);
}

TEST_F(ConcurrentGroups, TurnsAreKeptInsideACaptureAndBesideItsGraph) {
  const Together together;
  auto devices = host_devices(2);
  auto first = Group::create(devices), second = Group::create(devices);
  barrier(*first)[0]->wait_launched();
  auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
  for (auto* group : {first.get(), second.get()}) {
    wait_on_device(*group, barrier(*group));
  }
  auto graph = capture->end();
  auto third = Group::create(devices);
  std::vector<std::shared_ptr<Work>> works;
  for (int i = 0; i < 20; ++i) {
    works = barrier(*third, i % 2 == 0);
    Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
    graph->launch(streams);
    for (auto& work : barrier(*second, i % 3 == 0)) works.push_back(work);
  }
  for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
  for (Device* device : devices) device->synchronize();
  EXPECT_EQ(g_ran, 2 + 20 * 2 * 4);
  EXPECT_EQ(g_mixed, 0);
}

TEST_F(ConcurrentGroups, CapturedCallsOfTwoGroupsKeepTheirChannels) {
  auto devices = host_devices(2);
  auto first = Group::create(devices), second = Group::create(devices);
  const Call call{.dtype = DType::kI32, .count = 2'000'000};
  CallBuffers one(devices, call), two(devices, call);
  for (Device* device : devices) device->synchronize();
  auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
  wait_on_device(*first, submit(*first, one));
  wait_on_device(*second, submit(*second, two));
  auto graph = capture->end();
  Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
  graph->launch(streams);
  for (Device* device : devices) device->synchronize();
  one.check();
  two.check();
}

}  // namespace
}  // namespace fabric
