// Gates: what orders streams of different drivers.
#include "fabric/gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "fabric/fabric.h"
#include "fabric/host_queue.h"
#include "runtime/gate_watch.h"

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

// What ends the fabric runs in a process of its own.
TEST(Gate, AGateThatNobodyOpensPoisonsTheFabricAndLetsTheHeldStreamGo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Device& device = open_device("host:0");
        auto in_time = std::make_shared<Gate>();
        auto never = std::make_shared<Gate>();
        in_time->open();
        watch_gate(in_time, "stream 1", std::chrono::milliseconds(1));  // not blamed
        std::atomic<bool> poisoned_first{false};
        device.driver().hold(device.compute().handle(), never);
        host::enqueue(device.compute().handle(), [&] { poisoned_first = poisoned(); });
        watch_gate(never, "stream 7 of host:0", std::chrono::milliseconds(30));
        std::string message;
        try {
          device.synchronize(10'000);
        } catch (const Error& error) {
          if (error.code() == ErrorCode::kPoisoned) message = error.message();
        }
        const bool told = message.find("must restart") != std::string::npos &&
                          message.find("stream 7 of host:0 waited 30 ms") != std::string::npos;
        std::_Exit(told && poisoned_first ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
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
