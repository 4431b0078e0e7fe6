// The handle table: stale handles are found, any thread may use any handle.
#include "core/handle_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "fabric/fabric.h"

namespace weft {
namespace {

Tensor small() { return empty({4}, DType::kF32, fabric::open_device("host:0")); }

TEST(HandleTable, AStaleHandleIsADisposedError) {
  auto handle = handles::insert(small());
  EXPECT_TRUE(handles::alive(handle));
  EXPECT_TRUE(handles::release(handle));
  EXPECT_FALSE(handles::alive(handle));
  EXPECT_FALSE(handles::release(handle));
  try {
    handles::get(handle);
    FAIL() << "a stale handle was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kDisposed);
  }
}

TEST(HandleTable, AReusedSlotDoesNotAnswerToItsOldHandle) {
  auto first = handles::insert(small());
  handles::release(first);
  auto second = handles::insert(small());
  EXPECT_NE(first, second);
  EXPECT_FALSE(handles::alive(first));
  EXPECT_TRUE(handles::alive(second));
  handles::release(second);
}

TEST(HandleTable, ZeroAndNonsenseAreNeverAlive) {
  EXPECT_FALSE(handles::alive(0));
  EXPECT_FALSE(handles::alive(uint64_t{77} << 24 | 0xfffff0));
  EXPECT_FALSE(handles::release(0));
}

TEST(HandleTable, HandlesAreSafeIntegersInJavaScript) {
  auto handle = handles::insert(small());
  EXPECT_LT(handle, uint64_t{1} << 53);
  handles::release(handle);
}

TEST(HandleTable, AnEndedOwnerLeavesNothingBehind) {
  size_t before = handles::live();
  for (int i = 0; i < 100; ++i) handles::insert(small(), 7001);
  auto other = handles::insert(small(), 7002);
  EXPECT_EQ(handles::release_owner(7001), 100u);
  EXPECT_EQ(handles::live(), before + 1);
  EXPECT_TRUE(handles::alive(other));
  handles::release(other);
}

TEST(HandleTable, SlotsOfAnEndedThreadServeOthers) {
  std::vector<handles::Handle> made;
  std::thread([&made] {
    for (int i = 0; i < 300; ++i) made.push_back(handles::insert(small()));
    for (auto handle : made) handles::release(handle);
  }).join();
  std::vector<bool> seen(1 << 16);
  for (auto handle : made) seen.at(handle % (1 << 24)) = true;
  std::vector<handles::Handle> again;
  int reused = 0;
  for (int i = 0; i < 300; ++i) {
    again.push_back(handles::insert(small()));
    reused += seen.at(again.back() % (1 << 24)) ? 1 : 0;
  }
  EXPECT_GE(reused, 100);  // this thread had up to 128 free slots of its own
  for (auto handle : made) EXPECT_FALSE(handles::alive(handle));
  for (auto handle : again) EXPECT_TRUE(handles::release(handle));
}

TEST(HandleTable, TensorsMadeOnOneThreadMayDieOnAnother) {
  for (int round = 0; round < 4; ++round) {
    std::vector<Tensor> tensors;
    for (int i = 0; i < 1500; ++i) tensors.push_back(small());
    std::thread([mine = std::move(tensors)]() mutable { mine.clear(); }).join();
  }
}

TEST(HandleTable, ReleaseFromAnotherThreadComesBeforeOrAfterALookUp) {
  for (int round = 0; round < 200; ++round) {
    auto handle = handles::insert(small());
    std::atomic<int> got{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          try {
            Tensor tensor = handles::get(handle);
            if (tensor.numel() == 4) ++got;
          } catch (const Error& e) {
            EXPECT_EQ(e.code(), ErrorCode::kDisposed);
          }
        }
      });
    }
    threads.emplace_back([&] { handles::release(handle); });
    for (auto& t : threads) t.join();
    EXPECT_FALSE(handles::alive(handle));
  }
}

}  // namespace
}  // namespace weft
