// A host stream is a FIFO, for any closure size and any number of producers.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "fabric/faults.h"
#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

TEST(HostQueue, RunsTasksInTheOrderOfEnqueueing) {
  Stream& stream = fresh_device().compute();
  std::vector<int> seen;  // touched by the one worker only
  for (int i = 0; i < 20000; ++i) host::enqueue(stream.handle(), [&seen, i] { seen.push_back(i); });
  stream.synchronize();
  ASSERT_EQ(seen.size(), 20000u);
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(seen[static_cast<size_t>(i)], i);
}

TEST(HostQueue, KeepsClosuresOfEverySizeIntact) {
  Stream& stream = fresh_device().compute();
  Gate gate;
  gate.hold(stream);  // so that the queue grows over several chunks
  int64_t bad = 0, count = 0;
  auto put = [&]<size_t kBytes>(std::integral_constant<size_t, kBytes>, int i) {
    std::array<uint8_t, kBytes> payload;
    payload.fill(static_cast<uint8_t>(i));
    host::enqueue(stream.handle(), [&bad, &count, payload, i] {
      ++count;
      for (uint8_t byte : payload) bad += byte != static_cast<uint8_t>(i);
    });
  };
  for (int i = 0; i < 500; ++i) {
    put(std::integral_constant<size_t, 1>{}, i);
    put(std::integral_constant<size_t, 17>{}, i);
    put(std::integral_constant<size_t, 250>{}, i);
    put(std::integral_constant<size_t, 1900>{}, i);
  }
  gate.open();
  stream.synchronize();
  EXPECT_EQ(count, 2000);
  EXPECT_EQ(bad, 0);
}

TEST(HostQueue, DestroysClosuresAfterTheyRan) {
  Stream& stream = fresh_device().compute();
  auto token = std::make_shared<int>(1);
  std::weak_ptr<int> watch = token;
  host::enqueue(stream.handle(), [token = std::move(token)] {});
  stream.synchronize();
  EXPECT_TRUE(watch.expired());
}

TEST(HostQueue, TakesManyProducersWithoutLosingOrReorderingTheirTasks) {
  Stream& stream = fresh_device().compute();
  constexpr int kProducers = 8, kEach = 5000;
  std::array<int, kProducers> next{};
  int64_t out_of_order = 0;
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) {
        host::enqueue(stream.handle(), [&next, &out_of_order, p, i] {
          out_of_order += next[static_cast<size_t>(p)]++ != i;
        });
      }
    });
  }
  for (auto& producer : producers) producer.join();
  stream.synchronize();
  for (int p = 0; p < kProducers; ++p) EXPECT_EQ(next[static_cast<size_t>(p)], kEach);
  EXPECT_EQ(out_of_order, 0);
}

TEST(HostQueue, WakesASleepingWorkerEveryTime) {
  Stream& stream = fresh_device().compute();
  int64_t ran = 0;
  for (int i = 0; i < 2000; ++i) {
    host::enqueue(stream.handle(), [&ran] { ++ran; });
    stream.synchronize(10'000);  // the worker runs dry each time
    ASSERT_EQ(ran, i + 1);
  }
}

// A wake-up of the waiting thread costs the stream up to some 20 us.
TEST(HostQueue, ASynchronizeIsWokenByTheTaskItWaitsForAndNotByThoseBefore) {
  Stream& stream = fresh_device().compute();
  Gate gate;
  gate.hold(stream);
  for (int i = 0; i < 1000; ++i) {
    host::enqueue(stream.handle(), [] {
      const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
      while (std::chrono::steady_clock::now() < end) {
      }
    });
  }
  rusage before, after;
  getrusage(RUSAGE_THREAD, &before);
  std::thread opener([&] { gate.open(); });
  stream.synchronize();
  getrusage(RUSAGE_THREAD, &after);
  opener.join();
  EXPECT_LT(after.ru_nvcsw - before.ru_nvcsw, 100);  // else one for nearly each task
}

TEST(HostQueue, EveryWaiterIsWokenWhateverTheOthersWaitFor) {
  Stream& stream = fresh_device().compute();
  for (int round = 0; round < 200; ++round) {
    std::array<Gate, 4> gates;
    std::vector<std::thread> waiters;
    for (size_t i = 0; i < gates.size(); ++i) {
      gates[i].hold(stream);
      // Each begins with another target: the tasks enqueued so far.
      waiters.emplace_back([&] { stream.synchronize(); });
    }
    for (Gate& gate : gates) gate.open();
    for (std::thread& waiter : waiters) waiter.join();
  }
}

TEST(HostQueue, SynchronizeGivesUpAtItsLimitAndNamesTheStream) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());
  EXPECT_FALSE(device.compute().idle());
  try {
    device.compute().synchronize(20);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_NE(error.message().find(device.name()), std::string::npos);
    EXPECT_NE(error.message().find("stream 0"), std::string::npos);
  }
  gate.open();
  device.synchronize();
  EXPECT_TRUE(device.compute().idle());
}

TEST(HostQueue, StreamsOfOneDeviceRunIndependently) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());
  int ran = 0;
  host::enqueue(device.comm().handle(), [&ran] { ran = 1; });
  device.comm().synchronize(10'000);
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(device.compute().idle());
}

TEST(HostQueue, NotifyRunsAfterWhatWasEnqueuedBefore) {
  Device& device = fresh_device();
  Stream& stream = device.compute();
  int value = 0, told = 0;
  host::enqueue(stream.handle(), [&] { value = 7; });
  device.driver().notify(stream.handle(), [&] { told = value; });
  stream.synchronize();
  EXPECT_EQ(told, 7);
}

TEST(HostQueue, AnInjectedDelaySlowsEveryTaskOfTheDevice) {
  Device& device = open_device("host:40");
  faults::set_device_delay_us(40, 2000);
  const uint64_t begin = event_log::now_ns();
  for (int i = 0; i < 5; ++i) host::enqueue(device.compute().handle(), [] {});
  device.synchronize();
  faults::clear();
  EXPECT_GE(event_log::now_ns() - begin, 10'000'000u);
}

TEST(HostQueue, UserStreamsHaveTheirOwnIdsAndAreFound) {
  Device& device = fresh_device();
  Stream& a = device.create_stream();
  Stream& b = device.create_stream();
  EXPECT_EQ(a.id(), 4);
  EXPECT_EQ(b.id(), 5);
  EXPECT_EQ(device.find_stream(5), &b);
  EXPECT_EQ(device.find_stream(6), nullptr);
  EXPECT_EQ(device.find_stream(1), &device.comm());
  EXPECT_THROW(device.stream(StreamPurpose::kUser), Error);
}

}  // namespace
}  // namespace fabric
