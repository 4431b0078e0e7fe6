// Device times of the event log: in mode timing every record of work gets the time at which its
// stream was done with it, and a late time never lands in a newer record.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "test_device.h"

namespace fabric {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

class DeviceTime : public testing::Test {
 protected:
  void SetUp() override { event_log::set_mode(LogMode::kTiming); }
  void TearDown() override { event_log::set_mode(LogMode::kOff); }
  static uint64_t mark() { return event_log::read(0, 1).next_sequence; }
  static uint64_t log_operator(Device& device, Stream& stream) {
    event_log::log(EventKind::kOperator, device.index(), stream.id(), kNoDevice, 0, 0);
    return mark() - 1;
  }
  static EventRecord record(uint64_t sequence) {
    event_log::collect_device_times();
    for (const EventRecord& e : event_log::read(sequence, SIZE_MAX).events) {
      if (e.sequence == sequence) return e;
    }
    ADD_FAILURE() << "record " << sequence << " is gone";
    return {};
  }
};

TEST_F(DeviceTime, IsKnownOnceTheStreamGotThereAndNotBefore) {
  Device& device = test::fresh_device();
  Stream& stream = device.compute();
  test::Gate gate;
  gate.hold(stream);
  gate.wait_reached();
  const uint64_t sequence = log_operator(device, stream);
  EXPECT_EQ(record(sequence).device_ns, 0u);
  const uint64_t opened = event_log::now_ns();
  gate.open();
  stream.synchronize();
  const EventRecord done = record(sequence);
  EXPECT_GE(done.device_ns, opened);
  EXPECT_GT(opened, done.host_ns);
  EXPECT_LE(done.device_ns, event_log::now_ns());
}

TEST_F(DeviceTime, DoesNotDecreaseAlongAStreamAndFollowsTheHostTime) {
  Device& a = test::fresh_device();
  Device& b = test::fresh_device();
  Stream& user = a.create_stream();
  const uint64_t since = mark();
  std::vector<char> from(4096), to(4096);
  for (int i = 0; i < 300; ++i) {
    transfer(to.data(), b.compute(), from.data(), i % 2 == 0 ? a.compute() : user, from.size());
    log_operator(b, b.compute());
  }
  a.synchronize();
  b.synchronize();
  event_log::collect_device_times();
  uint64_t last[2][8] = {};
  size_t copies = 0;
  for (const EventRecord& e : event_log::read(since, SIZE_MAX).events) {
    if (e.device != a.index() && e.device != b.index()) continue;
    if (e.kind == static_cast<uint16_t>(EventKind::kPeerEnable)) continue;
    copies += e.kind == static_cast<uint16_t>(EventKind::kCopy);
    ASSERT_GE(e.device_ns, e.host_ns) << e.sequence << " kind " << e.kind;
    uint64_t& before = last[e.device == b.index()][e.stream];
    ASSERT_GE(e.device_ns, before) << e.sequence << " kind " << e.kind;
    before = e.device_ns;
  }
  EXPECT_EQ(copies, 300u);
}

TEST_F(DeviceTime, IsAbsentInModeBasicAndForWhatRunsOnNoStream) {
  Device& device = test::fresh_device();
  Stream& stream = device.compute();
  const uint64_t allocation = mark();
  device.allocator().free(device.allocator().allocate(1000, stream));
  event_log::set_mode(LogMode::kBasic);
  const uint64_t sequence = log_operator(device, stream);
  stream.synchronize();
  EXPECT_EQ(record(allocation).device_ns, 0u);
  EXPECT_EQ(record(sequence).device_ns, 0u);
}

TEST_F(DeviceTime, IsAbsentForCapturedWork) {
  Device& device = test::fresh_device();
  Stream& stream = device.compute();
  Driver& driver = device.driver();
  driver.begin_capture(stream.handle());
  const uint64_t captured = log_operator(device, stream);
  GraphHandle graph = driver.end_capture(stream.handle());
  driver.launch_graph(graph, stream.handle());
  const uint64_t outside = log_operator(device, stream);
  stream.synchronize();
  EXPECT_EQ(record(captured).device_ns, 0u);
  EXPECT_GT(record(outside).device_ns, 0u);
  driver.destroy_graph(graph);
}

TEST_F(DeviceTime, ANameThatIsNoDeviceIsLoggedAllTheSame) {
  const uint64_t since = mark();
  event_log::log(EventKind::kOperator, 60000, 2, kNoDevice, 5, 6);
  event_log::log(EventKind::kOperator, kNoDevice, 0, kNoDevice, 5, 6);
  EXPECT_EQ(event_log::read(since, 10).events.size(), 2u);
}

TEST_F(DeviceTime, AClockBehindTheHostsIsMended) {
  const RecordHandle handle =
      event_log::append(EventKind::kOperator, kNoDevice, 0, kNoDevice, 0, 0, 0, 0);
  const uint64_t sequence = mark() - 1;
  const uint64_t host_ns = record(sequence).host_ns;
  event_log::set_device_time(handle, host_ns, host_ns - 500);
  EXPECT_EQ(record(sequence).device_ns, host_ns + 1);
  event_log::set_device_time(handle, host_ns, host_ns + kSecond);
  EXPECT_EQ(record(sequence).device_ns, host_ns + 1) << "a time is written once";
}

// Before and behind the reading that gave the record its sequence, and from another thread.
TEST_F(DeviceTime, IsFoundWheneverItComes) {
  event_log::set_mode(LogMode::kBasic);
  const uint64_t since = mark();
  RecordHandle handles[2] = {};
  std::thread([&] {
    for (RecordHandle& handle : handles) {
      handle = event_log::append(EventKind::kOperator, kNoDevice, 0, kNoDevice, 0, 0, 0, 0);
    }
  }).join();
  event_log::set_device_time(handles[0], 0, 7);
  EventSlice slice = event_log::read(since, 10);
  ASSERT_EQ(slice.events.size(), 2u);
  EXPECT_EQ(slice.events[0].device_ns, slice.events[0].host_ns + 7);
  EXPECT_EQ(slice.events[1].device_ns, 0u);
  event_log::set_device_time(handles[1], 0, 9);
  slice = event_log::read(since, 10);
  ASSERT_EQ(slice.events.size(), 2u);
  EXPECT_EQ(slice.events[1].device_ns, slice.events[1].host_ns + 9);
}

// Device times are derived from the record's place among its thread's, so that one in a foreign record
// shows. Stamps come up to two laps late, from another thread than the records.
TEST_F(DeviceTime, ALateTimeNeverLandsInANewerRecord) {
  event_log::set_mode(LogMode::kBasic);
  const uint64_t since = mark();
  const uint64_t laps = 4 * event_log::capacity();
  const uint64_t deadline = event_log::now_ns() + 30 * kSecond;
  std::atomic<bool> done{false};
  std::atomic<uint64_t> foreign{0}, known{0}, first{0}, written{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (uint64_t i = 0; (i < laps || known == 0) && event_log::now_ns() < deadline; ++i) {
      const RecordHandle handle =
          event_log::append(EventKind::kOperator, kNoDevice, 0, kNoDevice, 0, i, 0, 0);
      if (i == 0) first = handle;
      written = i + 1;
    }
    done = true;
  });
  for (uint64_t late : {uint64_t{1}, event_log::capacity(), 2 * event_log::capacity()}) {
    threads.emplace_back([&, late] {
      while (!done) {
        const uint64_t end = written;
        for (uint64_t i = end > late + 64 ? end - late - 64 : 0; i + late < end; ++i) {
          event_log::set_device_time(first + i, 0, i & 0xffffff);
        }
      }
    });
  }
  while (!done) {
    const EventSlice slice = event_log::read(since, 2000);  // the newest ones
    for (const EventRecord& e : slice.events) {
      if (e.device_ns == 0) continue;
      ++known;
      const uint64_t expected = std::max<uint64_t>(e.id & 0xffffff, 1);
      foreign += e.device_ns - e.host_ns != expected;
    }
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(foreign.load(), 0u);
  EXPECT_GT(known.load(), 0u);
}

}  // namespace
}  // namespace fabric
