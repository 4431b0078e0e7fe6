// Events order work across streams and devices; a wait means the latest record before it.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

// Without the edges this is a data race on `value`, which ThreadSanitizer reports and the count
// shows.
TEST(Event, OrdersUnsynchronisedWritesOverTwoDevices) {
  Stream& a = fresh_device().compute();
  Stream& b = fresh_device().compute();
  int64_t value = 0;
  for (int i = 0; i < 2000; ++i) {
    host::enqueue(a.handle(), [&value] { ++value; });
    order_after(b, a);
    host::enqueue(b.handle(), [&value] { ++value; });
    order_after(a, b);
  }
  a.synchronize();
  EXPECT_EQ(value, 4000);
}

TEST(Event, ARingOfStreamsPassesATokenInOrder) {
  std::vector<Stream*> ring;
  for (int i = 0; i < 4; ++i) ring.push_back(&fresh_device().comm());
  std::vector<int> passed;
  for (int i = 0; i < 400; ++i) {
    Stream& here = *ring[static_cast<size_t>(i % 4)];
    host::enqueue(here.handle(), [&passed, i] { passed.push_back(i); });
    order_after(*ring[static_cast<size_t>((i + 1) % 4)], here);
  }
  for (Stream* stream : ring) stream->synchronize();
  ASSERT_EQ(passed.size(), 400u);
  for (int i = 0; i < 400; ++i) EXPECT_EQ(passed[static_cast<size_t>(i)], i);
}

TEST(Event, AWaitHoldsOnlyTheWaitingStream) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());
  Event event(device);
  event.record(device.compute());
  event.wait(device.comm());
  bool ran = false;
  host::enqueue(device.comm().handle(), [&ran] { ran = true; });
  EXPECT_FALSE(event.query());
  EXPECT_FALSE(device.comm().idle());
  EXPECT_FALSE(event.synchronize(20));
  gate.open();
  EXPECT_TRUE(event.synchronize(30'000));
  device.comm().synchronize();
  EXPECT_TRUE(ran);
}

TEST(Event, AWaitMeansTheLatestRecordBeforeItNotALaterOne) {
  Device& device = fresh_device();
  Stream& user = device.create_stream();
  Event event(device);
  event.record(device.compute());  // passes at once
  event.wait(user);
  Gate gate;
  gate.hold(device.compute());
  event.record(device.compute());  // held; made after the wait
  user.synchronize(30'000);        // must not hang
  EXPECT_FALSE(event.query());
  gate.open();
  EXPECT_TRUE(event.synchronize(30'000));
}

TEST(Event, ALaterRecordOnAnotherStreamDoesNotReleaseAnEarlierWait) {
  Device& device = fresh_device();
  Stream& waiter = device.create_stream();
  Gate gate;
  gate.hold(device.compute());
  Event event(device);
  event.record(device.compute());  // held
  event.wait(waiter);
  event.record(device.comm());  // passes at once, and is now what query() means
  EXPECT_TRUE(event.synchronize(30'000));
  EXPECT_FALSE(waiter.idle());
  int value = 0;
  host::enqueue(device.compute().handle(), [&value] { value = 1; });
  EXPECT_FALSE(waiter.idle());
  gate.open();
  waiter.synchronize();
  device.synchronize();
  EXPECT_EQ(value, 1);
}

TEST(Event, OneThatWasNeverRecordedHoldsNobody) {
  Device& device = fresh_device();
  Event event(device);
  event.wait(device.compute());
  device.compute().synchronize(30'000);
  EXPECT_TRUE(event.query());
  EXPECT_TRUE(event.synchronize(0));
}

TEST(Event, APooledHandleForgetsItsFormerOwnersRecord) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());
  EventHandle handle = nullptr;
  {
    Event former(device);
    former.record(device.compute());
    handle = former.handle();
  }
  Event event(device);
  ASSERT_EQ(event.handle(), handle);
  EXPECT_TRUE(event.query());
  event.wait(device.comm());
  host::enqueue(device.comm().handle(), [] {});
  device.comm().synchronize(30'000);
}

TEST(Event, MayGoAwayWhileWorkStillWaitsForIt) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());
  bool ran = false;
  EventHandle raw = device.driver().create_event(device.ordinal(), false);
  device.driver().record(raw, device.compute().handle());
  device.driver().wait(device.comm().handle(), raw);
  device.driver().destroy_event(raw);
  host::enqueue(device.comm().handle(), [&ran] { ran = true; });
  gate.open();
  device.synchronize();
  EXPECT_TRUE(ran);
}

TEST(Event, MovesLeaveTheSourceEmpty) {
  Device& device = fresh_device();
  Event a(device);
  a.record(device.compute());
  Event b = std::move(a);
  EXPECT_FALSE(static_cast<bool>(a));
  EXPECT_TRUE(static_cast<bool>(b));
  a = std::move(b);
  EXPECT_TRUE(a.synchronize(30'000));
  EXPECT_THROW(b.record(device.compute()), Error);
}

TEST(Event, BelongsToItsDevice) {
  Event event(fresh_device());
  EXPECT_THROW(event.record(fresh_device().compute()), Error);
}

TEST(Event, TimingEventsMeasureTheWorkBetweenThem) {
  Device& device = fresh_device();
  Event start(device, true), stop(device, true);
  EXPECT_THROW(device.driver().elapsed_ms(start.handle(), stop.handle()), Error);
  start.record(device.compute());
  host::enqueue(device.compute().handle(), [] {
    const uint64_t until = event_log::now_ns() + 3'000'000;
    while (event_log::now_ns() < until) {
    }
  });
  stop.record(device.compute());
  device.synchronize();
  EXPECT_GE(device.driver().elapsed_ms(start.handle(), stop.handle()), 3.0);
}

TEST(Event, ManyThreadsMayRecordAndWaitOnOneEvent) {
  Device& device = fresh_device();
  Event event(device);
  event.record(device.compute());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Stream& mine = device.create_stream();
      EventHandle handle = event.handle();
      for (int i = 0; i < 500; ++i) {
        if (t % 2 == 0) device.driver().record(handle, mine.handle());
        device.driver().wait(mine.handle(), handle);
      }
      mine.synchronize(30'000);
    });
  }
  for (auto& thread : threads) thread.join();
  device.synchronize();
}

}  // namespace
}  // namespace fabric
