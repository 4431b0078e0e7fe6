// One log of many threads' records: their sequences are dense and in the order of time, nothing goes
// missing uncounted, and a thread's end loses nothing.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "fabric/event_log.h"
#include "log/record_ring.h"

namespace fabric {
namespace {

constexpr int kThreads = 8;

RecordHandle append(uint64_t id, uint64_t bytes = 0) {
  return event_log::append(EventKind::kOperator, kNoDevice, 0, kNoDevice, bytes, id, 0, 0);
}

void on_threads(int count, const std::function<void(uint64_t)>& body) {
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t) threads.emplace_back([&, t] { body(static_cast<uint64_t>(t)); });
  for (auto& thread : threads) thread.join();
}

/// Sequences ascend by one to the end, times do not descend.
void expect_dense_and_ascending(const EventSlice& slice) {
  ASSERT_FALSE(slice.events.empty());
  for (size_t i = 1; i < slice.events.size(); ++i) {
    ASSERT_EQ(slice.events[i].sequence, slice.events[i - 1].sequence + 1);
    ASSERT_GE(slice.events[i].host_ns, slice.events[i - 1].host_ns);
  }
  EXPECT_EQ(slice.events.back().sequence + 1, slice.next_sequence);
}

class EventOrder : public testing::Test {
 protected:
  void SetUp() override { event_log::set_mode(LogMode::kBasic); }
  void TearDown() override { event_log::set_mode(LogMode::kOff); }
  static uint64_t mark() { return event_log::read(0, 0).next_sequence; }
};

TEST_F(EventOrder, RecordsOfSeveralThreadsComeInTheOrderOfTheirTimes) {
  const uint64_t since = mark();
  constexpr uint64_t kEach = 5'000;
  std::atomic<int> here{0};
  on_threads(kThreads, [&](uint64_t t) {
    for (++here; here < kThreads;) std::this_thread::yield();
    for (uint64_t i = 0; i < kEach; ++i) append(i, t);
  });
  const EventSlice slice = event_log::read(since, SIZE_MAX);
  ASSERT_EQ(slice.events.size(), kThreads * kEach);
  expect_dense_and_ascending(slice);
  uint64_t next[kThreads] = {};
  for (const EventRecord& e : slice.events)
    ASSERT_EQ(e.id, next[e.bytes]++) << "thread " << e.bytes;
}

// Each record follows from the one before, which another thread logged; 5 us lie between, as clocks of
// two threads may differ by one. A reader numbers them all the time.
TEST_F(EventOrder, ARecordComesBehindTheOneItFollowedFrom) {
  uint64_t since = mark();
  constexpr uint64_t kTurns = 3'000;
  std::atomic<uint64_t> turn{0};
  std::atomic<bool> done{false};
  uint64_t next = 0, wrong = 0;
  std::thread reader([&] {
    for (bool last = false; !last;) {
      last = done;
      const EventSlice slice = event_log::read(since, SIZE_MAX);
      for (const EventRecord& e : slice.events) wrong += e.id != next++;
      since = slice.next_sequence;
    }
  });
  on_threads(3, [&](uint64_t t) {
    for (uint64_t mine = t; mine < kTurns; mine += 3) {
      while (turn != mine) std::this_thread::yield();
      const uint64_t until = event_log::now_ns() + 5'000;
      while (event_log::now_ns() < until) {
      }
      append(mine);
      turn = mine + 1;
    }
  });
  done = true;
  reader.join();
  EXPECT_EQ(next, kTurns);
  EXPECT_EQ(wrong, 0u);
}

// The writers stay less than the log's capacity before the follower.
TEST_F(EventOrder, AFollowerGetsEachRecordOfEightThreadsOnce) {
  uint64_t since = mark();
  constexpr uint64_t kEach = 30'000;
  std::atomic<uint64_t> written{0}, followed{0};
  uint64_t next[kThreads] = {};
  uint64_t dropped = 0, wrong = 0;
  std::thread follower([&] {
    std::vector<EventRecord> room(3'000);
    while (followed < kThreads * kEach && dropped == 0) {
      size_t count = 0;
      const uint64_t first = since;
      const EventSlice slice = event_log::follow(since, room.size(), room.data(), &count);
      dropped += slice.dropped;
      wrong += slice.next_sequence != first + count;
      for (size_t i = 0; i < count; ++i) {
        wrong += room[i].sequence != first + i;
        wrong += room[i].id != next[room[i].bytes]++;
      }
      since = slice.next_sequence;
      followed += count + slice.dropped;
    }
  });
  on_threads(kThreads, [&](uint64_t t) {
    for (uint64_t i = 0; i < kEach; ++i) {
      while (written - followed > event_log::capacity() / 2) std::this_thread::yield();
      ++written;
      append(i, t);
    }
  });
  follower.join();
  EXPECT_EQ(dropped, 0u);
  EXPECT_EQ(wrong, 0u);
  for (uint64_t each : next) EXPECT_EQ(each, kEach);
}

TEST_F(EventOrder, WhatEightThreadsOverwroteIsCounted) {
  const uint64_t since = mark();
  const uint64_t capacity = event_log::capacity();
  constexpr uint64_t kEach = 100'000;  // each ring is overwritten, before anybody numbered it
  on_threads(kThreads, [](uint64_t t) {
    for (uint64_t i = 0; i < kEach; ++i) append(i, t);
  });
  const EventSlice slice = event_log::read(since, SIZE_MAX);
  EXPECT_EQ(slice.next_sequence, since + kThreads * kEach);
  EXPECT_EQ(slice.events.size(), capacity);
  EXPECT_EQ(slice.dropped, kThreads * kEach - capacity);
  expect_dense_and_ascending(slice);
}

TEST_F(EventOrder, AnotherThreadsBurstLeavesTheNewestOfAll) {
  const uint64_t since = mark();
  const uint64_t capacity = event_log::capacity();
  for (uint64_t i = 0; i < 100; ++i) append(i, 1);
  std::thread([&] {
    for (uint64_t i = 0; i < capacity + 4'000; ++i) append(i, 2);
  }).join();
  for (uint64_t i = 0; i < 10; ++i) append(i, 3);
  const EventSlice slice = event_log::read(since, SIZE_MAX);
  EXPECT_EQ(slice.dropped, 100u + 4'000 + 10);
  ASSERT_EQ(slice.events.size(), capacity);
  EXPECT_EQ(slice.events.front().bytes, 2u);
  EXPECT_EQ(slice.events.front().id, 4'010u);
  EXPECT_EQ(slice.events.back().bytes, 3u);
}

// Numbers that nobody asked for are settled later: they neither change nor go missing.
TEST_F(EventOrder, WhatWasLeftOutIsThereForAWiderQuestion) {
  const uint64_t since = mark();
  std::vector<EventRecord> newest;
  for (uint64_t round = 0; round < 20; ++round) {
    on_threads(4, [&](uint64_t t) {
      for (uint64_t i = 0; i < 700; ++i) append(round * 700 + i, t);
    });
    const EventSlice slice = event_log::read(since, 50);
    ASSERT_EQ(slice.events.size(), 50u);
    EXPECT_EQ(slice.skipped, (round + 1) * 2'800 - 50);
    EXPECT_EQ(slice.dropped, 0u);
    newest.insert(newest.end(), slice.events.begin(), slice.events.end());
  }
  const EventSlice all = event_log::read(since, SIZE_MAX);
  ASSERT_EQ(all.events.size(), 20u * 2'800);
  EXPECT_EQ(all.dropped, 0u);
  expect_dense_and_ascending(all);
  for (const EventRecord& e : newest) {
    const EventRecord& again = all.events[e.sequence - since];
    ASSERT_EQ(again.sequence, e.sequence);
    ASSERT_EQ(again.id, e.id);
    ASSERT_EQ(again.bytes, e.bytes);
  }
  uint64_t next[4] = {};
  for (const EventRecord& e : all.events) ASSERT_EQ(e.id, next[e.bytes]++);
}

uint64_t cpu_ns(const std::function<void()>& body) {
  auto now = [] {
    timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return static_cast<uint64_t>(at.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(at.tv_nsec);
  };
  const uint64_t begin = now();
  body();
  return now() - begin;
}

// The first question after half a million records settles no more of them than it is asked for: it is
// far cheaper than the next one, which asks for all that is kept.
TEST_F(EventOrder, AShortWindowIsCheapWhateverLiesUnread) {
  std::vector<EventRecord> room(event_log::capacity());
  uint64_t narrow = UINT64_MAX, wide = UINT64_MAX;
  for (int round = 0; round < 5; ++round) {
    const uint64_t since = mark();
    on_threads(kThreads, [](uint64_t t) {
      for (uint64_t i = 0; i < 64'000; ++i) append(i, t);
    });
    size_t count = 0;
    narrow = std::min(narrow, cpu_ns([&] { event_log::read(since, 1'024, room.data(), &count); }));
    ASSERT_EQ(count, 1'024u);
    wide = std::min(wide, cpu_ns([&] { event_log::read(since, SIZE_MAX, room.data(), &count); }));
    ASSERT_EQ(count, event_log::capacity());
  }
  EXPECT_LT(narrow * 8, wide);
  RecordProperty("narrow_ns", std::to_string(narrow));
}

TEST_F(EventOrder, AnEndedThreadsRecordsStayAndItsRingIsUsedAgain) {
  const uint64_t since = mark();
  RecordHandle first = 0;
  for (uint64_t t = 0; t < 100; ++t) {
    std::thread([&] {
      const RecordHandle handle = append(t);
      if (t == 0) first = handle;
      EXPECT_EQ(handle, first + t);
    }).join();
  }
  const EventSlice slice = event_log::read(since, SIZE_MAX);
  ASSERT_EQ(slice.events.size(), 100u);
  for (uint64_t t = 0; t < 100; ++t) EXPECT_EQ(slice.events[t].id, t);
}

struct LogsAtItsEnd {
  uint64_t id = 0;
  RecordHandle* handle = nullptr;
  ~LogsAtItsEnd() {
    if (handle != nullptr) *handle = append(id);
  }
};

TEST_F(EventOrder, AThreadThatLogsAfterItGaveItsRingBackKeepsNone) {
  const uint64_t since = mark();
  RecordHandle handles[3] = {};
  std::thread([&] {
    static thread_local LogsAtItsEnd end;  // older than the thread's ring, so it ends later
    end.id = 2;
    end.handle = &handles[1];
    handles[0] = append(1);
  }).join();
  std::thread([&] { handles[2] = append(3); }).join();
  EXPECT_EQ(handles[1], handles[0] + 1);
  EXPECT_EQ(handles[2], handles[0] + 2);
  const EventSlice slice = event_log::read(since, 10);
  ASSERT_EQ(slice.events.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(slice.events[i].id, i + 1);
}

#if !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)  // their shadow is address space
TEST_F(EventOrder, ARecordWithoutMemoryForARingIsCountedAsDropped) {
  const uint64_t since = mark();
  const uint64_t threads = event_log::ring_count() + 1;  // one more than may wait for an owner
  std::atomic<uint64_t> here{0}, logged{0};
  std::atomic<bool> go{false};
  std::thread limited([&] {
    while (here < threads) std::this_thread::yield();
    uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    rlimit tight = before;
    tight.rlim_cur = pages * 4096 + (2 << 20);  // half a ring
    setrlimit(RLIMIT_AS, &tight);
    go = true;
    while (logged < threads) std::this_thread::yield();
    setrlimit(RLIMIT_AS, &before);
  });
  on_threads(static_cast<int>(threads), [&](uint64_t t) {
    for (++here; !go;) std::this_thread::yield();
    append(t);
    for (++logged; logged < threads;) std::this_thread::yield();
  });
  limited.join();
  const EventSlice slice = event_log::read(since, SIZE_MAX);
  EXPECT_EQ(slice.next_sequence, since + threads);
  EXPECT_GT(slice.dropped, 0u);
  EXPECT_EQ(slice.events.size() + slice.dropped, threads);
  std::thread([] { append(1); }).join();
  EXPECT_EQ(event_log::read(since + threads, 10).events.size(), 1u) << "when there is memory again";
}
#endif

}  // namespace
}  // namespace fabric
