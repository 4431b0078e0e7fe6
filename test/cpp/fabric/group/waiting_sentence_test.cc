// The sentence of a timeout: who waits for whom in which call, since when, before or inside it, and
// what differs in what the ranks brought. Each fault is injected; the words are compared.
#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "collective_run.h"

namespace fabric {
namespace {

using test::Gate;
using test::host_devices;
using test::run_checked;

class WaitingSentence : public test::CleanFabric {
 protected:
  WaitingSentence() : devices_(host_devices(3)), group_(Group::create(devices_)) {}

  CollectiveArgs args(uint64_t count = 64, int rank = 0) {
    CollectiveArgs args;
    args.count = count;
    args.in = args.out = memory_[rank];
    return args;
  }
  static std::string sentence(Work& work) {
    try {
      if (!work.synchronize(10'000)) return "nothing within 10 s";
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  }
  static void expect_match(const std::string& text, const std::string& pattern) {
    EXPECT_TRUE(std::regex_match(text, std::regex(pattern))) << text << "\n" << pattern;
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
  float memory_[3][256] = {};
};

TEST_F(WaitingSentence, NeverArrivesWithoutAnyCall) {
  auto work = group_->submit(0, args(), 30);
  auto other = group_->submit(2, args(), 30);
  expect_match(sentence(*work),
               "all_reduce \\(call 1 of group \\d+\\): rank 1 did not arrive within \\d+ ms; "
               "ranks 0, 2 waited together since \\d\\d:\\d\\d:\\d\\d\\.\\d{3} UTC; rank 1 "
               "\\(host:1\\) is before the call: it made no call yet");
}

TEST_F(WaitingSentence, NeverArrivesAfterOtherCalls) {
  run_checked(*group_, devices_, {.count = 17});
  auto work = group_->submit(0, args(), 30);
  expect_match(
      sentence(*work),
      "all_reduce \\(call 2 of group \\d+\\): ranks 1, 2 did not arrive within \\d+ ms; "
      "rank 0 waited since .* UTC; rank 1 \\(host:1\\) is before the call: it made 1 call, "
      "the last all_reduce \\d+ ms ago; rank 2 \\(host:2\\) is before the call: .*");
}

TEST_F(WaitingSentence, LateRankHearsTheSameAndTheNextCallWorks) {
  auto work = group_->submit(0, args(), 30);
  auto other = group_->submit(2, args(), 30);
  const std::string early = sentence(*work);
  auto late = group_->submit(1, args(), 30);
  EXPECT_EQ(sentence(*late), early);
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(WaitingSentence, WhatTheOthersBroughtDiffers) {
  auto work = group_->submit(0, args(64), 30);
  auto other = group_->submit(2, args(65), 30);
  expect_match(sentence(*work),
               ".*it made no call yet; those that came differ: rank 0 brought all_reduce of 64 x "
               "f32 with op sum, rank 2 all_reduce of 65 x f32 with op sum");
}

TEST_F(WaitingSentence, StallsInsideAfterTheLaunch) {
  Gate gate;
  gate.hold(group_->stream(1));
  gate.wait_reached();
  std::vector<CollectiveArgs> parts;
  for (int rank = 0; rank < 3; ++rank) {
    parts.push_back(args(64, rank));
    parts.back().result_ms = 30;
  }
  auto works = group_->submit_all(parts);
  expect_match(
      sentence(*works[0]),
      "all_reduce \\(call 1 of group \\d+\\): launched, but not done within \\d+ ms; rank 1 "
      "\\(host:1\\) is stalled .*, the other ranks wait for it since .* UTC");
  gate.open();
  for (Device* device : devices_) device->synchronize();
}

}  // namespace
}  // namespace fabric
