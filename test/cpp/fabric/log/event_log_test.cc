// The event log: never torn, counts what it lost, cheap when off.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "test_device.h"

namespace fabric {
namespace {

class EventLog : public testing::Test {
 protected:
  void SetUp() override { event_log::set_mode(LogMode::kBasic); }
  void TearDown() override { event_log::set_mode(LogMode::kOff); }
  // The next sequence that will be given out.
  static uint64_t mark() { return event_log::read(0, 1).next_sequence; }
};

TEST_F(EventLog, ReadsBackEveryField) {
  const uint64_t since = mark();
  const uint64_t before = event_log::now_ns();
  event_log::log(EventKind::kCopy, 3, 2, 5, 4096, 77, 11, 13);
  const EventSlice slice = event_log::read(since, 10);
  ASSERT_EQ(slice.events.size(), 1u);
  const EventRecord& record = slice.events[0];
  EXPECT_EQ(record.sequence, since);
  EXPECT_EQ(record.kind, static_cast<uint16_t>(EventKind::kCopy));
  EXPECT_EQ(record.device, 3);
  EXPECT_EQ(record.stream, 2);
  EXPECT_EQ(record.peer, 5);
  EXPECT_EQ(record.bytes, 4096u);
  EXPECT_EQ(record.id, 77u);
  EXPECT_EQ(record.detail, 11u);
  EXPECT_EQ(record.extra, 13u);
  EXPECT_EQ(record.tag, 0u);
  EXPECT_EQ(record.device_ns, 0u);
  EXPECT_GE(record.host_ns + 5'000, before);  // the log has a clock of its own
  EXPECT_LE(record.host_ns, event_log::now_ns() + 5'000);
  EXPECT_EQ(slice.next_sequence, since + 1);
  EXPECT_EQ(slice.dropped, 0u);
}

TEST_F(EventLog, OffWritesNothing) {
  const uint64_t since = mark();
  event_log::set_mode(LogMode::kOff);
  for (int i = 0; i < 100; ++i) event_log::log(EventKind::kCopy, 0, 0, kNoDevice, 1, 1);
  EXPECT_EQ(event_log::mode(), LogMode::kOff);
  EXPECT_EQ(mark(), since);
}

TEST_F(EventLog, AWindowIsTheNewestRecordsSinceTheAskedOne) {
  const uint64_t since = mark();
  for (uint64_t i = 0; i < 100; ++i) event_log::log(EventKind::kOperator, 0, 0, kNoDevice, i, i);
  EventSlice slice = event_log::read(since, 1000);
  ASSERT_EQ(slice.events.size(), 100u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(slice.events[i].sequence, since + i);
  slice = event_log::read(since, 10);
  ASSERT_EQ(slice.events.size(), 10u);
  EXPECT_EQ(slice.events[0].id, 90u);
  EXPECT_EQ(slice.dropped, 0u);
  EXPECT_EQ(slice.skipped, 90u);
  EXPECT_EQ(slice.next_sequence, since + 100);
  slice = event_log::read(since + 95, 1000);
  ASSERT_EQ(slice.events.size(), 5u);
  EXPECT_EQ(slice.events[0].id, 95u);
  slice = event_log::read(since + 100, 1000);
  EXPECT_TRUE(slice.events.empty());
  EXPECT_EQ(slice.next_sequence, since + 100);
}

TEST_F(EventLog, ReadsIntoTheCallersRoom) {
  const uint64_t since = mark();
  for (uint64_t i = 0; i < 20; ++i) event_log::log(EventKind::kOperator, 0, 0, kNoDevice, i, i);
  std::vector<EventRecord> room(8);
  size_t count = 0;
  const EventSlice slice = event_log::read(since, room.size(), room.data(), &count);
  EXPECT_TRUE(slice.events.empty());
  ASSERT_EQ(count, 8u);
  EXPECT_EQ(room[0].id, 12u);
  EXPECT_EQ(room[7].id, 19u);
}

TEST_F(EventLog, CountsWhatWasOverwritten) {
  const uint64_t since = mark();
  const uint64_t capacity = event_log::capacity();
  for (uint64_t i = 0; i < capacity + 500; ++i) {
    event_log::log(EventKind::kOperator, 0, 0, kNoDevice, i, i);
  }
  const EventSlice slice = event_log::read(since, capacity * 2);
  EXPECT_EQ(slice.dropped, 500u);
  ASSERT_EQ(slice.events.size(), capacity);
  EXPECT_EQ(slice.events.front().id, 500u);
  EXPECT_EQ(slice.events.back().id, capacity + 499);
}

// Every word of a record is derived from one number, so a mixture of two records shows.
TEST_F(EventLog, NeverShowsATornRecordUnderConcurrentProducersAndReaders) {
  const uint64_t since = mark();
  constexpr int kProducers = 4;
  constexpr uint64_t kEach = 150'000;  // laps each ring twice
  std::atomic<bool> done{false};
  std::atomic<uint64_t> torn{0}, unordered{0};
  std::vector<std::thread> producers, readers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([p] {
      for (uint64_t i = 0; i < kEach; ++i) {
        const uint64_t key = static_cast<uint64_t>(p) * kEach + i;
        event_log::log(EventKind::kOperator, static_cast<uint16_t>(key),
                       static_cast<uint16_t>(key >> 3), static_cast<uint16_t>(~key), key, key * 3,
                       static_cast<uint32_t>(key * 5), key * 7);
      }
    });
  }
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, since] {
      uint64_t from = since;
      while (!done.load()) {
        const EventSlice slice = event_log::read(from, 4096);
        uint64_t last = 0;
        for (const EventRecord& e : slice.events) {
          const uint64_t key = e.bytes;
          torn += e.id != key * 3 || e.extra != key * 7 ||
                  e.detail != static_cast<uint32_t>(key * 5) ||
                  e.device != static_cast<uint16_t>(key) || e.peer != static_cast<uint16_t>(~key);
          unordered += e.sequence <= last || e.sequence < from;
          last = e.sequence;
        }
        from = slice.next_sequence;
      }
    });
  }
  for (auto& producer : producers) producer.join();
  done = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_EQ(unordered.load(), 0u);
  const EventSlice slice = event_log::read(since, SIZE_MAX);
  EXPECT_EQ(slice.events.size() + slice.dropped, slice.next_sequence - since);
  EXPECT_EQ(slice.next_sequence, since + kProducers * kEach);
}

TEST_F(EventLog, TheFabricLogsAllocationsAndEventEdges) {
  Device& a = test::fresh_device();
  Device& b = test::fresh_device();
  a.compute();
  b.compute();
  const uint64_t since = mark();
  Block* block = a.allocator().allocate(1000, a.compute());
  a.allocator().free(block);
  order_after(b.compute(), a.compute());
  std::vector<EventRecord> mine;
  for (const EventRecord& e : event_log::read(since, 1000).events) {
    if (e.device == a.index() || e.device == b.index()) mine.push_back(e);
  }
  ASSERT_EQ(mine.size(), 4u);
  EXPECT_EQ(mine[0].kind, static_cast<uint16_t>(EventKind::kAllocate));
  EXPECT_EQ(mine[0].bytes, 1024u);
  EXPECT_EQ(mine[1].kind, static_cast<uint16_t>(EventKind::kFree));
  EXPECT_EQ(mine[1].id, mine[0].id);
  EXPECT_EQ(mine[2].kind, static_cast<uint16_t>(EventKind::kEventRecord));
  EXPECT_EQ(mine[2].device, a.index());
  EXPECT_EQ(mine[3].kind, static_cast<uint16_t>(EventKind::kEventWait));
  EXPECT_EQ(mine[3].device, b.index());
  EXPECT_EQ(mine[3].peer, a.index());
  EXPECT_EQ(mine[3].id, mine[2].id);
}

}  // namespace
}  // namespace fabric
