// Graphs of the host driver: what was captured runs again on each launch, with its order between
// streams.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

TEST(Graph, ReplaysCopiesOverStreamsWithTheirEdges) {
  Device& a = fresh_device();
  Device& b = fresh_device();
  Driver& driver = a.driver();
  std::vector<float> source(1000), middle(1000), result(1000);
  Stream& main = a.compute();
  Stream& side = b.comm();
  driver.begin_capture(main.handle());
  driver.copy(middle.data(), a.ordinal(), source.data(), a.ordinal(), 4000, main.handle());
  order_after(side, main);  // `side` joins the capture
  driver.copy(result.data(), b.ordinal(), middle.data(), a.ordinal(), 4000, side.handle());
  host::enqueue(side.handle(), [&result] {
    for (float& value : result) value *= 2;
  });
  order_after(main, side);
  GraphHandle graph = driver.end_capture(main.handle());
  EXPECT_TRUE(main.idle());  // capturing ran nothing
  EXPECT_EQ(result[1], 0);

  for (int round = 1; round <= 20; ++round) {
    host::enqueue(main.handle(), [&source, round] {
      std::iota(source.begin(), source.end(), static_cast<float>(round));
    });
    driver.launch_graph(graph, main.handle());
    double seen = -1;
    host::enqueue(main.handle(), [&result, &seen] { seen = result[10]; });
    main.synchronize();
    ASSERT_EQ(seen, 2.0 * (round + 10));
  }
  driver.destroy_graph(graph);
}

TEST(Graph, LaunchesOnAnotherStreamThanItWasCapturedOn) {
  Device& device = fresh_device();
  Driver& driver = device.driver();
  int runs = 0;
  driver.begin_capture(device.compute().handle());
  host::enqueue(device.compute().handle(), [&runs] { ++runs; });
  GraphHandle graph = driver.end_capture(device.compute().handle());
  Stream& user = device.create_stream();
  Gate gate;
  gate.hold(device.compute());  // replay does not need the capturing stream
  for (int i = 0; i < 10; ++i) driver.launch_graph(graph, user.handle());
  user.synchronize(30'000);
  EXPECT_EQ(runs, 10);
  driver.destroy_graph(graph);
}

TEST(Graph, LaunchesFromSeveralStreamsDoNotOverlap) {
  Device& device = fresh_device();
  Driver& driver = device.driver();
  int64_t value = 0;  // a race if two launches overlapped
  driver.begin_capture(device.compute().handle());
  for (int i = 0; i < 10; ++i) host::enqueue(device.compute().handle(), [&value] { ++value; });
  GraphHandle graph = driver.end_capture(device.compute().handle());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    Stream& stream = device.create_stream();
    threads.emplace_back([&driver, graph, &stream] {
      for (int i = 0; i < 50; ++i) driver.launch_graph(graph, stream.handle());
      stream.synchronize(60'000);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(value, 4 * 50 * 10);
  driver.destroy_graph(graph);
}

TEST(Graph, MayBeDestroyedWhileALaunchIsQueued) {
  Device& device = fresh_device();
  Driver& driver = device.driver();
  auto runs = std::make_shared<int>(0);
  driver.begin_capture(device.compute().handle());
  host::enqueue(device.compute().handle(), [runs] { ++*runs; });
  GraphHandle graph = driver.end_capture(device.compute().handle());
  {
    Gate gate;
    gate.hold(device.compute());
    driver.launch_graph(graph, device.compute().handle());
    driver.destroy_graph(graph);
  }
  device.synchronize();
  EXPECT_EQ(*runs, 1);
  EXPECT_EQ(runs.use_count(), 1);  // and its closures are gone
}

TEST(Graph, AForkThatIsNotJoinedIsAnError) {
  Device& device = fresh_device();
  Driver& driver = device.driver();
  driver.begin_capture(device.compute().handle());
  order_after(device.comm(), device.compute());
  host::enqueue(device.comm().handle(), [] {});
  EXPECT_THROW(driver.end_capture(device.compute().handle()), Error);
  bool ran = false;  // both streams work as before
  host::enqueue(device.comm().handle(), [&ran] { ran = true; });
  device.synchronize();
  EXPECT_TRUE(ran);
}

TEST(Graph, RefusesWhatACaptureCannotMean) {
  Device& device = fresh_device();
  Driver& driver = device.driver();
  Event outside(device);
  outside.record(device.comm());
  EXPECT_THROW(driver.end_capture(device.compute().handle()), Error);
  driver.begin_capture(device.compute().handle());
  EXPECT_THROW(driver.begin_capture(device.compute().handle()), Error);
  EXPECT_THROW(outside.wait(device.compute()), Error);
  EXPECT_THROW(device.compute().synchronize(), Error);
  Event inside(device);
  inside.record(device.compute());
  EXPECT_THROW(inside.query(), Error);
  GraphHandle graph = driver.end_capture(device.compute().handle());
  EXPECT_THROW(inside.wait(device.comm()), Error);
  inside.record(device.compute());  // an ordinary event again
  EXPECT_TRUE(inside.synchronize(30'000));
  driver.destroy_graph(graph);
}

}  // namespace
}  // namespace fabric
