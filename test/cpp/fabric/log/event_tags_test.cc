// Tags: numbers are the same in all threads, each thread has its own current one, the table is bounded.
#include "fabric/event_tags.h"

#include <gtest/gtest.h>

#include <thread>

#include "fabric/event_log.h"

namespace fabric::event_log {
namespace {

TEST(EventTags, ARecordCarriesTheTagOfTheThreadThatLoggedIt) {
  set_mode(LogMode::kBasic);
  const uint64_t since = read(0, 0).next_sequence;
  const uint32_t here = tag_number("here");
  {
    TagScope scope(here);
    std::thread([] { log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 1); }).join();
    log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 2);
  }
  log(EventKind::kError, kNoDevice, 0, kNoDevice, 0, 3, 0xffffffff);
  set_mode(LogMode::kOff);
  const EventSlice slice = read(since, 100);
  ASSERT_EQ(slice.events.size(), 3U);
  EXPECT_EQ(slice.events[0].tag, 0U);
  EXPECT_EQ(slice.events[1].tag, here);
  EXPECT_EQ(slice.events[2].tag, 0U);
  EXPECT_EQ(slice.events[2].detail, 0xffffffffU);
}

TEST(EventTags, ManyNamesShareTheLastNumberAndNoneIsLostBefore) {
  EXPECT_EQ(tag_number(""), 0U);
  const uint32_t first = tag_number("first");
  std::thread([first] { EXPECT_EQ(tag_number("first"), first); }).join();
  for (uint32_t i = 0; i <= kMostTags; ++i) tag_number("name " + std::to_string(i));
  EXPECT_EQ(tag_number("one more"), kMostTags);
  EXPECT_EQ(tag_number("first"), first);
  const std::vector<std::string> names = tag_names();
  ASSERT_EQ(names.size(), kMostTags);
  EXPECT_EQ(names[first - 1], "first");
  EXPECT_EQ(names.back(), kOtherTags);
  EXPECT_EQ(tag_names(kMostTags - 1), std::vector<std::string>{std::string(kOtherTags)});
  EXPECT_TRUE(tag_names(kMostTags).empty());
}

}  // namespace
}  // namespace fabric::event_log
