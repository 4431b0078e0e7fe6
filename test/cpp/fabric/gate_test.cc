// Gates: what orders streams of different drivers.
#include "fabric/gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "fabric/fabric.h"
#include "fabric/host_queue.h"

namespace fabric {
namespace {

TEST(Gate, AHeldStreamStandsStillUntilTheGateOpens) {
  Device& device = open_device("host:0");
  Stream& stream = device.create_stream();
  auto gate = std::make_shared<Gate>();
  std::atomic<int> ran{0};
  device.driver().hold(stream.handle(), gate);
  host::enqueue(stream.handle(), [&ran] { ran = 1; });
  EXPECT_FALSE(device.driver().synchronize_stream(stream.handle(), 20));
  EXPECT_EQ(ran, 0);
  gate->open();
  stream.synchronize(10'000);
  EXPECT_EQ(ran, 1);
}

TEST(Gate, AnOpenGateHoldsNobodyAndCallsAtOnce) {
  Gate gate;
  int called = 0;
  gate.then([&] { ++called; });
  EXPECT_EQ(called, 0);
  gate.open();
  gate.open();
  EXPECT_EQ(called, 1);
  gate.then([&] { ++called; });
  EXPECT_EQ(called, 2);
  EXPECT_TRUE(gate.wait(std::chrono::milliseconds(0)));
}

}  // namespace
}  // namespace fabric
