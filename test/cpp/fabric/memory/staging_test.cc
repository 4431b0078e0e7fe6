// Staging buffers are used again, and never while a stream still works on them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "fabric/faults.h"
#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

TEST(Staging, ABufferReleasedWithoutAStreamIsReusedAtOnce) {
  Driver& driver = *find_driver(DriverKind::kHost);
  // A size that no other test of the process leaves in the cache.
  StagingBuffer a = acquire_staging(driver, 41'000'000);
  ASSERT_NE(a.ptr, nullptr);
  EXPECT_GE(a.bytes, 41'000'000u);
  EXPECT_EQ(a.driver, &driver);
  release_staging(a, nullptr);
  StagingBuffer b = acquire_staging(driver, 40'900'000);
  EXPECT_EQ(b.ptr, a.ptr);
  release_staging(b, nullptr);
}

TEST(Staging, ABufferInUseByAStreamIsHeldBack) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());
  StagingBuffer a = acquire_staging(device.driver(), 5'000'000);
  release_staging(a, &device.compute());
  StagingBuffer b = acquire_staging(device.driver(), 5'000'000);
  EXPECT_NE(b.ptr, a.ptr);
  gate.open();
  device.synchronize();
  StagingBuffer c = acquire_staging(device.driver(), 5'000'000);
  EXPECT_EQ(c.ptr, a.ptr);
  release_staging(b, nullptr);
  release_staging(c, nullptr);
}

TEST(Staging, KeepsABoundedCache) {
  Driver& driver = *find_driver(DriverKind::kHost);
  const uint64_t before = staging_bytes();
  std::vector<StagingBuffer> buffers;
  for (int i = 0; i < 6; ++i) buffers.push_back(acquire_staging(driver, 100 << 20));
  EXPECT_GE(staging_bytes(), before + (uint64_t{500} << 20));
  for (auto& buffer : buffers) release_staging(buffer, nullptr);
  EXPECT_LE(staging_bytes(), uint64_t{300} << 20);
}

TEST(Staging, AnEmptyRequestHoldsNothing) {
  Driver& driver = *find_driver(DriverKind::kHost);
  StagingBuffer buffer = acquire_staging(driver, 0);
  EXPECT_EQ(buffer.ptr, nullptr);
  release_staging(buffer, nullptr);
}

TEST(Staging, TooMuchIsOutOfMemory) {
  EXPECT_THROW(acquire_staging(*find_driver(DriverKind::kHost), size_t{1} << 60), Error);
}

TEST(Staging, ARefusedAllocationGivesTheCacheBackAndTriesAgain) {
  Driver& driver = *find_driver(DriverKind::kHost);
  release_staging(acquire_staging(driver, 40 << 20), nullptr);
  const uint64_t cached = staging_bytes();
  faults::fail_staging(1);
  StagingBuffer buffer = acquire_staging(driver, 200 << 20);
  ASSERT_NE(buffer.ptr, nullptr);
  EXPECT_LE(staging_bytes(), cached - (40 << 20) + buffer.bytes);
  release_staging(buffer, nullptr);
  faults::fail_staging(2);
  try {
    acquire_staging(driver, 250 << 20);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
  faults::clear();
  release_staging(acquire_staging(driver, 250 << 20), nullptr);
}

// Destructors give buffers back: a throw there would end the process without its named error. What
// ends the fabric runs in a process of its own.
TEST(Staging, ALostDeviceDoesNotMakeReleasingThrow) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Device& device = fresh_device();
        Gate gate;
        gate.hold(device.compute());
        StagingBuffer waiting = acquire_staging(device.driver(), 5000);
        StagingBuffer held = acquire_staging(device.driver(), 5000);
        StagingBuffer idle = acquire_staging(device.driver(), 5000);
        release_staging(waiting, &device.compute());
        poison("lost");
        int thrown = 0;
        try {
          release_staging(held, &device.compute());
          release_staging(idle, nullptr);
        } catch (const Error&) {
          thrown = 1;
        }
        gate.open();
        std::_Exit(thrown);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace fabric
