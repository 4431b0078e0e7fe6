// Captures and what runs beside them: streams and groups outside the capture are refused by name,
// two captures of a device exclude each other, and a graph that holds collectives keeps the order of
// the group's eager calls.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "fabric/algorithm.h"
#include "fabric/graph.h"
#include "group/collective_run.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

class CaptureOrder : public test::CleanFabric {};

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

std::vector<CollectiveArgs> barrier_args(const std::vector<Device*>& devices) {
  std::vector<CollectiveArgs> args(devices.size());
  for (size_t r = 0; r < devices.size(); ++r) {
    args[r].kind = CollectiveKind::kBarrier;
    args[r].stream = &devices[r]->compute();
  }
  return args;
}

TEST_F(CaptureOrder, AStreamOfADeviceOutsideTheCaptureCannotJoin) {
  Device& inside = fresh_device();
  Device& outside = fresh_device();
  auto capture = Capture::begin({&inside.compute()});
  const std::string refused = message_of([&] { order_after(outside.compute(), inside.compute()); });
  EXPECT_NE(refused.find(outside.name()), std::string::npos) << refused;
  EXPECT_NE(refused.find("not part of that capture"), std::string::npos) << refused;
  const std::string other = message_of([&] { order_after(inside.compute(), outside.compute()); });
  EXPECT_NE(other.find("outside the capture"), std::string::npos) << other;
  capture->end();
  bool ran = false;  // and both go on
  order_after(outside.compute(), inside.compute());
  host::enqueue(outside.compute().handle(), [&ran] { ran = true; });
  outside.synchronize();
  EXPECT_TRUE(ran);
}

TEST_F(CaptureOrder, AGroupThatIsPartlyOutsideTheCaptureIsRefusedByName) {
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  auto capture = Capture::begin({&devices[0]->compute()});
  auto args = barrier_args(devices);
  auto works = group->submit_all(args);
  const std::string refused = message_of([&] { works[0]->wait_launched(); });
  EXPECT_NE(refused.find("barrier"), std::string::npos) << refused;
  EXPECT_NE(refused.find(devices[1]->name() + " is not part of the capture"), std::string::npos)
      << refused;
  EXPECT_EQ(message_of([&] { works[1]->wait_launched(); }), refused);
  capture->end();
  args = barrier_args(devices);
  for (auto& work : group->submit_all(args)) EXPECT_TRUE(work->synchronize(30'000));
}

TEST_F(CaptureOrder, OneOfTwoCapturesOfADeviceBegins) {
  Device& device = fresh_device();
  Stream& a = device.create_stream();
  Stream& b = device.create_stream();
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> begun{0}, refused{0}, arrived{0};
    auto attempt = [&](Stream& stream) {
      ++arrived;
      while (arrived != 2) std::this_thread::yield();
      std::unique_ptr<Capture> capture;
      if (message_of([&] { capture = Capture::begin({&stream}); }).empty()) {
        ++begun;
      } else {
        ++refused;
      }
      while (begun + refused != 2) std::this_thread::yield();
    };
    std::thread other([&] { attempt(a); });
    attempt(b);
    other.join();
    ASSERT_EQ(begun, 1);
    ASSERT_EQ(refused, 1);
    ASSERT_FALSE(device.capturing());
  }
}

TEST_F(CaptureOrder, AnEventThatACaptureRecordedIsNeverAsked) {
  Device& device = fresh_device();
  auto capture = Capture::begin({&device.compute()});
  Event event(device);
  event.record(device.compute());
  EXPECT_NE(message_of([&] { event.query(); }).find("graph capture"), std::string::npos);
  EXPECT_NE(message_of([&] { event.synchronize(1); }).find("graph capture"), std::string::npos);
  capture->end();
  EXPECT_NE(message_of([&] { event.wait(device.comm()); }).find("graph capture"),
            std::string::npos);
  event.record(device.compute());
  EXPECT_TRUE(event.synchronize(30'000));
}

TEST_F(CaptureOrder, AGraphIsLaunchedByStreamsOfItsOwnDevicesOnly) {
  Device& device = fresh_device();
  Device& other = fresh_device();
  auto capture = Capture::begin({&device.compute()});
  auto graph = capture->end();
  Stream* streams[] = {&other.compute()};
  const std::string refused = message_of([&] { graph->launch(streams); });
  EXPECT_NE(refused.find(other.name()), std::string::npos) << refused;
}

TEST_F(CaptureOrder, NotificationsThatRaceABeginningCaptureComeOnce) {
  Device& device = fresh_device();
  Stream& stream = device.compute();
  std::atomic<bool> stop{false};
  std::atomic<int> called{0};
  std::thread capturing([&] {
    Stream* streams[] = {&stream};
    while (!stop) {
      auto graph = Capture::begin({&stream})->end();
      for (int i = 0; i < 2; ++i) graph->launch(streams);
      device.synchronize();
    }
  });
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string refused =
        message_of([&] { device.driver().notify(stream.handle(), [&called] { ++called; }); });
    if (refused.empty()) ++accepted;
  }
  stop = true;
  capturing.join();
  device.synchronize();
  EXPECT_EQ(called, accepted);
}

// An algorithm whose ranks share one inbox, as kernels with a fixed workspace do: two calls whose
// enqueuing interleaves would write it at the same time. Its launch can be told to stop half-way.
struct SharedInbox {
  std::mutex mutex;
  std::condition_variable changed;
  bool pause = false;  // the next launch stops half-way until `launched` or the limit
  bool half_way = false;
  bool launched = false;  // what should have waited did not
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
};
SharedInbox& inbox() {
  static auto* state = new SharedInbox;
  return *state;
}

void enqueue_shared_inbox(std::span<Device* const> devices) {
  for (Device* device : devices) {
    host::enqueue(device->comm().handle(), [] {
      if (inbox().inside.fetch_add(1) >= 2) ++inbox().overlaps;
    });
  }
  {
    std::unique_lock lock(inbox().mutex);
    if (inbox().pause) {
      inbox().pause = false;
      inbox().half_way = true;
      inbox().changed.notify_all();
      inbox().changed.wait_for(lock, std::chrono::milliseconds(300),
                               [] { return inbox().launched; });
    }
  }
  std::vector<Event> events;
  for (Device* device : devices) {
    events.emplace_back(*device);
    events.back().record(device->comm());
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    for (size_t j = 0; j < devices.size(); ++j) {
      if (i != j) events[j].wait(devices[i]->comm());
    }
  }
  for (Device* device : devices) {
    host::enqueue(device->comm().handle(), [] { inbox().inside.fetch_sub(1); });
  }
}

class SharedInboxCall final : public PreparedCall {
 public:
  explicit SharedInboxCall(std::span<Device* const> devices) : devices_(devices) {}
  void enqueue() override { enqueue_shared_inbox(devices_); }

 private:
  const std::span<Device* const> devices_;
};

std::unique_ptr<PreparedCall> prepare_shared_inbox(const CollectiveCall& call) {
  return std::make_unique<SharedInboxCall>(call.devices);
}

TEST_F(CaptureOrder, AGraphWithACollectiveWaitsForAnEagerCallThatIsBeingEnqueued) {
  register_algorithm({"test-shared-inbox", true,
                      [](const CallShape& call) { return call.kind == CollectiveKind::kBarrier; },
                      &prepare_shared_inbox});
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  force_algorithm("test-shared-inbox");
  auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
  auto args = barrier_args(devices);
  auto works = group->submit_all(args);
  for (int r = 0; r < 2; ++r) {
    works[r]->wait_launched();
    works[r]->stream_wait(devices[r]->compute());
  }
  auto graph = capture->end();
  inbox().pause = true;
  std::thread eager([&] {
    auto parts = barrier_args(devices);
    for (auto& work : group->submit_all(parts)) work->wait_launched();
  });
  {
    std::unique_lock lock(inbox().mutex);
    ASSERT_TRUE(
        inbox().changed.wait_for(lock, std::chrono::seconds(30), [] { return inbox().half_way; }));
  }
  Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
  graph->launch(streams);
  {
    std::lock_guard lock(inbox().mutex);
    inbox().launched = true;
    inbox().changed.notify_all();
  }
  eager.join();
  for (Device* device : devices) device->synchronize();
  force_algorithm("");
  EXPECT_EQ(inbox().overlaps, 0);
  EXPECT_EQ(inbox().inside, 0);
}

// What the comm stream does next waits for the graph too, although it was launched by others.
TEST_F(CaptureOrder, TheCommStreamGoesOnBehindAGraphWithACollective) {
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  int order = 0, graph_ran = 0, comm_ran = 0;
  auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
  auto args = barrier_args(devices);
  auto works = group->submit_all(args);
  for (int r = 0; r < 2; ++r) {
    works[r]->wait_launched();
    works[r]->stream_wait(devices[r]->compute());
  }
  host::enqueue(devices[0]->compute().handle(), [&] { graph_ran = ++order; });
  auto graph = capture->end();
  Gate gate;
  gate.hold(devices[0]->compute());
  Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
  graph->launch(streams);
  host::enqueue(devices[0]->comm().handle(), [&] { comm_ran = ++order; });
  gate.open();
  for (Device* device : devices) device->synchronize();
  EXPECT_EQ(graph_ran, 1);
  EXPECT_EQ(comm_ran, 2);
}

}  // namespace
}  // namespace fabric
