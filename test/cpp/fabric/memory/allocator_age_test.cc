// Ages in the allocator's segment map: nanoseconds since a block was handed out.
#include <gtest/gtest.h>

#include "fabric/event_log.h"
#include "test_device.h"

namespace fabric {
namespace {

uint64_t age_of(Device& device, const Block* block) {
  for (const SegmentInfo& segment : device.allocator().snapshot())
    for (const BlockInfo& info : segment.blocks)
      if (info.address == reinterpret_cast<uint64_t>(block->ptr)) return info.age_ns;
  ADD_FAILURE() << "the block is in no segment";
  return 0;
}

/// Passes the time until the steady clock shows `ns` more.
void pass(uint64_t ns) {
  const uint64_t end = event_log::now_ns() + ns;
  while (event_log::now_ns() < end) {
  }
}

TEST(AllocatorAge, CountsNanosecondsSinceTheBlockWasHandedOut) {
  Device& device = test::fresh_device();
  device.allocator().free(device.allocator().allocate(4096, device.compute()));
  pass(20'000'000);
  const uint64_t before = event_log::now_ns();
  Block* block = device.allocator().allocate(4096, device.compute());
  const uint64_t after = event_log::now_ns();
  pass(20'000'000);
  const uint64_t asked = event_log::now_ns();
  const uint64_t age = age_of(device, block);
  const uint64_t answered = event_log::now_ns();
  // A tenth for the rate of the counter, which is measured over these 40 ms.
  EXPECT_GE(age, (asked - after) * 9 / 10);
  EXPECT_LE(age, (answered - before) * 11 / 10);
  device.allocator().free(block);
}

}  // namespace
}  // namespace fabric
