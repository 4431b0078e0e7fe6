// Calls that were launched: they hear of a deadline, an abort and a lost device as calls do that
// still wait for a rank, and each callback is called once. What loses a device runs in a process of
// its own.
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>

#include "collective_run.h"

namespace fabric {
namespace {

using test::Gate;
using test::host_devices;
using test::run_checked;

/// What on_done of one work said.
class Ending {
 public:
  void watch(Work& work) {
    work.on_done([this](const Error* error) {
      std::lock_guard lock(mutex_);
      ++calls_;
      if (error != nullptr) error_ = *error;
      changed_.notify_all();
    });
  }
  /// The error's code, kNone for success; waits at most 10 s.
  std::string wait() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(10), [&] { return calls_ > 0; })) {
      return "nothing within 10 s";
    }
    return error_ ? error_code_name(error_->code()) : "success";
  }
  Error error() {
    std::lock_guard lock(mutex_);
    return error_ ? *error_ : Error(ErrorCode::kNone, "no error");
  }
  int calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int calls_ = 0;
  std::optional<Error> error_;
};

class GroupFlight : public test::CleanFabric {
 protected:
  GroupFlight() : devices_(host_devices(3)), group_(Group::create(devices_)) {}

  std::vector<CollectiveArgs> parts() {
    std::vector<CollectiveArgs> parts(3);
    for (int r = 0; r < 3; ++r) {
      parts[r].count = 64;
      parts[r].in = parts[r].out = memory_[r];
    }
    return parts;
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
  float memory_[3][64] = {};
};

TEST_F(GroupFlight, AStalledStreamEndsTheWorkWithATimeoutThatNamesIt) {
  Gate gate;
  gate.hold(group_->stream(1));
  gate.wait_reached();
  auto args = parts();
  for (auto& part : args) part.result_ms = 50;
  auto works = group_->submit_all(args);
  Ending endings[3];
  for (int r = 0; r < 3; ++r) endings[r].watch(*works[r]);
  for (auto& ending : endings) EXPECT_EQ(ending.wait(), "WEFT_COLLECTIVE_TIMEOUT");
  const Error error = endings[0].error();
  EXPECT_NE(error.message().find("launched"), std::string::npos) << error.message();
  EXPECT_NE(error.message().find("rank 1 (host:1)"), std::string::npos) << error.message();
  EXPECT_NE(error.fields_json().find("\"launched\":true"), std::string::npos);
  EXPECT_NE(error.fields_json().find("\"stalled\":[1]"), std::string::npos) << error.fields_json();
  EXPECT_THROW(works[0]->synchronize(1'000), Error);
  EXPECT_THROW(works[2]->wait_launched(), Error);
  EXPECT_FALSE(works[1]->done());
  EXPECT_EQ(group_->stats().timeouts, 1u);
  gate.open();
  for (Device* device : devices_) device->synchronize();
  for (auto& ending : endings) EXPECT_EQ(ending.calls(), 1);
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFlight, AProducerThatIsStuckIsNamedToo) {
  Gate gate;
  gate.hold(devices_[2]->compute());
  auto args = parts();
  for (int r = 0; r < 3; ++r) {
    args[r].result_ms = 50;
    args[r].stream = &devices_[r]->compute();
  }
  auto works = group_->submit_all(args);
  Ending ending;
  ending.watch(*works[0]);
  EXPECT_EQ(ending.wait(), "WEFT_COLLECTIVE_TIMEOUT");
  EXPECT_NE(ending.error().message().find("rank 2 (host:2) is stalled before the call"),
            std::string::npos)
      << ending.error().message();
  gate.open();
  for (Device* device : devices_) device->synchronize();
}

TEST_F(GroupFlight, AWorkThatIsDoneInTimeOutlivesItsDeadline) {
  auto args = parts();
  for (auto& part : args) part.result_ms = 3'000;
  auto works = group_->submit_all(args);
  for (auto& work : works) EXPECT_TRUE(work->synchronize(10'000));
  // A later deadline that does pass shows that the earlier one was looked at.
  auto missing = group_->submit(0, parts()[0], 3'200);
  Ending ending;
  ending.watch(*missing);
  EXPECT_EQ(ending.wait(), "WEFT_COLLECTIVE_TIMEOUT");
  for (auto& work : works) {
    EXPECT_TRUE(work->done());
    EXPECT_NO_THROW(work->wait_launched());
  }
  EXPECT_EQ(group_->stats().timeouts, 1u);
}

TEST_F(GroupFlight, AbortEndsLaunchedWorks) {
  Gate gate;
  gate.hold(group_->stream(0));
  gate.wait_reached();
  auto args = parts();
  auto works = group_->submit_all(args);
  Ending endings[3];
  for (int r = 0; r < 3; ++r) endings[r].watch(*works[r]);
  group_->abort(Error(ErrorCode::kWorker, "worker 2 died"));
  for (auto& ending : endings) {
    EXPECT_EQ(ending.wait(), "WEFT_WORKER");
    EXPECT_EQ(ending.error().message(), "worker 2 died");
  }
  gate.open();
  for (Device* device : devices_) device->synchronize();
  for (auto& ending : endings) EXPECT_EQ(ending.calls(), 1);
  group_->reset();
  run_checked(*group_, devices_, {.count = 17});
}

TEST_F(GroupFlight, AbortLeavesAFinishedWorkAsItIs) {
  auto args = parts();
  auto works = group_->submit_all(args);
  EXPECT_TRUE(works[1]->synchronize(10'000));
  EXPECT_TRUE(works[0]->synchronize(10'000));
  EXPECT_TRUE(works[2]->synchronize(10'000));
  group_->abort(Error(ErrorCode::kWorker, "worker 2 died"));
  Ending ending;
  ending.watch(*works[1]);
  EXPECT_EQ(ending.wait(), "success");
  EXPECT_TRUE(works[1]->done());
}

TEST_F(GroupFlight, AGroupThatIsGoneLeavesNoCallWaiting) {
  auto args = parts();
  auto work = group_->submit(0, args[0], 60'000);
  Ending ending;
  ending.watch(*work);
  group_.reset();
  EXPECT_EQ(ending.wait(), "WEFT_USAGE");
}

class GroupPoisoned : public GroupFlight {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  // Ends the child: 0 when all is as expected, else with the difference on stderr.
  [[noreturn]] static void leave(const std::string& seen, const std::string& expected) {
    if (seen != expected) fprintf(stderr, "%s, expected %s\n", seen.c_str(), expected.c_str());
    std::_Exit(seen == expected ? 0 : 1);
  }
};

TEST_F(GroupPoisoned, ALostDeviceFailsOpenCallsAtOnce) {
  EXPECT_EXIT(
      {
        auto work = group_->submit(0, parts()[0], 60'000);
        Ending ending;
        ending.watch(*work);
        poison("lost");
        leave(ending.wait(), "WEFT_FABRIC_POISONED");
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(GroupPoisoned, ADeviceLostUnderALaunchedWorkIsNoSuccess) {
  EXPECT_EXIT(
      {
        Gate gate;
        gate.hold(group_->stream(1));
        faults::illegal_address(group_->stream(1));
        auto args = parts();
        auto works = group_->submit_all(args);
        Ending ending;
        ending.watch(*works[1]);
        gate.open();
        leave(ending.wait(), "WEFT_FABRIC_POISONED");
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(GroupPoisoned, ADeviceLostWhileLaunchingLosesNoCallback) {
  EXPECT_EXIT(
      {
        auto args = parts();
        args[2].on_launched = [](Stream&) { poison("lost"); };
        Ending endings[3];
        auto first = group_->submit(0, args[0]);
        auto second = group_->submit(1, args[1]);
        endings[0].watch(*first);
        endings[1].watch(*second);
        std::string seen;
        try {
          auto third = group_->submit(2, args[2]);
          endings[2].watch(*third);
        } catch (const Error& error) {
          seen = std::string("submit threw ") + error.what();
        }
        for (auto& ending : endings) seen += ending.wait() + " ";
        leave(seen, "WEFT_FABRIC_POISONED WEFT_FABRIC_POISONED WEFT_FABRIC_POISONED ");
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace fabric
