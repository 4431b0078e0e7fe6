// Calls whose callers wait for the result at once, on the callers' own streams (CollectiveArgs::joins): no edges to
// the comm streams and back, and the same order, results, notices and turns as there.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <random>
#include <vector>

#include "collective_run.h"
#include "fabric/event_log.h"

namespace fabric {
namespace {

using test::Gate;
using test::host_devices;

/// What the ranks of a group bring to a call; plain words, so that calls side by side are a race.
struct Words {
  std::vector<int> of_rank;
};

/// Sums one int a rank by the session's words, as a kernel does by its workspace.
class SumCall final : public PreparedCall {
 public:
  SumCall(const CollectiveCall& call, std::shared_ptr<Words> words) : words_(std::move(words)) {
    for (size_t r = 0; r < call.devices.size(); ++r) {
      streams_.push_back(&call.comm(r));
      in_.push_back(static_cast<const int*>(call.args[r].in));
      out_.push_back(static_cast<int*>(call.args[r].out));
    }
  }
  void enqueue() override {
    for (size_t r = 0; r < streams_.size(); ++r) {
      host::enqueue(streams_[r]->handle(),
                    [words = words_, r, in = in_[r]] { words->of_rank[r] = *in; });
    }
    meet();
    for (size_t r = 0; r < streams_.size(); ++r) {
      host::enqueue(streams_[r]->handle(), [words = words_, out = out_[r]] {
        *out = 0;
        for (int word : words->of_rank) *out += word;
      });
    }
    meet();
  }

 private:
  void meet() {
    std::vector<Event> here;
    for (Stream* stream : streams_) here.emplace_back(stream->device()).record(*stream);
    for (Stream* stream : streams_) {
      for (Event& event : here) event.wait(*stream);
    }
  }

  const std::shared_ptr<Words> words_;
  std::vector<Stream*> streams_;
  std::vector<const int*> in_;
  std::vector<int*> out_;
};

class SumSession final : public AlgorithmSession {
 public:
  explicit SumSession(size_t ranks) { words_->of_rank.resize(ranks); }
  std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) override {
    return std::make_unique<SumCall>(call, words_);
  }

 private:
  const std::shared_ptr<Words> words_ = std::make_shared<Words>();
};

class Joined : public test::CleanFabric {
 protected:
  Joined() {
    Algorithm algorithm{"test-sum", true, [](const CallShape& c) {
                          return c.kind == CollectiveKind::kAllReduce && c.count == 1;
                        }};
    algorithm.joins = true;
    algorithm.open = [](const GroupMembers& members) -> std::unique_ptr<AlgorithmSession> {
      return std::make_unique<SumSession>(members.devices.size());
    };
    register_algorithm(algorithm);
    force_algorithm("test-sum");
  }
  ~Joined() override {
    for (Device* device : devices_) device->synchronize();
    force_algorithm("");
    unregister_algorithm("test-sum");
  }

  std::vector<std::shared_ptr<Work>> sum(bool joins, Stream* first = nullptr) {
    std::vector<CollectiveArgs> args(devices_.size());
    for (size_t r = 0; r < args.size(); ++r) {
      args[r].dtype = DType::kI32;
      args[r].count = 1;
      args[r].in = &in_[r];
      args[r].out = &out_[r];
      args[r].stream = r == 0 && first != nullptr ? first : &devices_[r]->compute();
      args[r].joins = joins;
    }
    auto works = group_->submit_all(args);
    for (size_t r = 0; r < args.size(); ++r) {
      works[r]->wait_launched();
      works[r]->stream_wait(*args[r].stream);
    }
    return works;
  }

  /// By the compute streams: the next input, then, behind the call, whether the sum is right.
  void bring(int value) {
    for (size_t r = 0; r < devices_.size(); ++r) {
      host::enqueue(devices_[r]->compute().handle(),
                    [this, r, value] { in_[r] = value + static_cast<int>(r); });
    }
  }
  void expect(int value) {
    for (size_t r = 0; r < devices_.size(); ++r) {
      host::enqueue(devices_[r]->compute().handle(),
                    [this, r, value] { wrong_ += out_[r] != 3 * value + 0 + 1 + 2; });
    }
  }

  std::vector<Device*> devices_ = host_devices(3);
  std::shared_ptr<Group> group_ = Group::create(devices_);
  int in_[3] = {}, out_[3] = {};
  std::atomic<int> wrong_{0};
};

TEST_F(Joined, TheCallRunsOnTheCallersStreamsWithoutAnEdge) {
  bring(5);
  sum(true);
  for (Device* device : devices_) device->synchronize();
  const LogMode before = event_log::mode();
  event_log::set_mode(LogMode::kBasic);
  const uint64_t since = event_log::read(0, 0).next_sequence;
  sum(true);
  expect(5);
  for (Device* device : devices_) device->synchronize();
  event_log::set_mode(before);
  EXPECT_EQ(wrong_, 0);
  int launched = 0, elsewhere = 0;
  for (const EventRecord& event : event_log::read(since, 1'000).events) {
    const auto kind = static_cast<EventKind>(event.kind);
    const bool on_stream = kind == EventKind::kEventRecord || kind == EventKind::kEventWait ||
                           kind == EventKind::kCollectiveLaunch ||
                           kind == EventKind::kCollectiveCombine;
    if (!on_stream) continue;
    launched += kind == EventKind::kCollectiveLaunch;
    elsewhere += event.stream != devices_[0]->compute().id();
  }
  EXPECT_EQ(launched, 3);
  EXPECT_EQ(elsewhere, 0) << "records on other streams than compute";
}

TEST_F(Joined, CallsKeepTheirOrderOnWhateverStreamsTheyRun) {
  std::mt19937 next(7);
  for (int i = 0; i < 300; ++i) {
    bring(i);
    sum(next() % 2 == 0);
    expect(i);
  }
  for (Device* device : devices_) device->synchronize();
  EXPECT_EQ(wrong_, 0);
}

TEST_F(Joined, ACallThatNobodyWaitsForYetStillComesBeforeTheNextOne) {
  const auto submit = [&](bool joins) {
    std::vector<CollectiveArgs> args(3);
    for (size_t r = 0; r < 3; ++r) {
      args[r].dtype = DType::kI32;
      args[r].count = 1;
      args[r].in = &in_[r];
      args[r].out = &out_[r];
      args[r].stream = joins ? &devices_[r]->compute() : nullptr;
      args[r].joins = joins;
    }
    return group_->submit_all(args);
  };
  for (const bool joins : {true, false}) {
    Gate gate;
    gate.hold(joins ? devices_[1]->compute() : group_->stream(1));
    auto first = submit(joins);
    auto second = submit(!joins);
    EXPECT_FALSE(second[0]->synchronize(30)) << "the call before is held";
    gate.open();
    for (auto& work : second) EXPECT_TRUE(work->synchronize(10'000));
    EXPECT_TRUE(first[1]->done());
    for (Device* device : devices_) device->synchronize();
  }
}

TEST_F(Joined, ACallFromAnotherStreamThanComputeStartsBehindThatStream) {
  Stream& other = devices_[0]->stream(StreamPurpose::kCopyIn);
  Gate gate;
  gate.hold(other);
  bring(4);
  order_after(other, devices_[0]->compute());
  auto works = sum(true, &other);
  EXPECT_FALSE(works[1]->synchronize(30)) << "rank 0's stream is held";
  gate.open();
  for (auto& work : works) EXPECT_TRUE(work->synchronize(10'000));
  EXPECT_EQ(out_[0], 15);
}

TEST_F(Joined, WhatIsEnqueuedBehindTheCallDelaysNoNotice) {
  bring(2);
  auto works = sum(true);
  Gate gate;
  gate.hold(devices_[0]->compute());
  std::promise<bool> told;
  auto good = told.get_future();
  works[0]->on_done([&](const Error* error) { told.set_value(error == nullptr); });
  const auto state = good.wait_for(std::chrono::seconds(10));
  gate.open();
  ASSERT_EQ(state, std::future_status::ready) << "the gate behind the call holds the notice";
  EXPECT_TRUE(good.get());
}

TEST_F(Joined, AStallBeforeTheCallAndWithinItAreToldApart) {
  Gate gate;
  gate.hold(devices_[1]->compute());
  std::vector<CollectiveArgs> args(3);
  for (size_t r = 0; r < 3; ++r) {
    args[r].dtype = DType::kI32;
    args[r].count = 1;
    args[r].in = &in_[r];
    args[r].out = &out_[r];
    args[r].stream = &devices_[r]->compute();
    args[r].joins = true;
    args[r].result_ms = 400;
  }
  auto works = group_->submit_all(args);
  try {
    works[0]->synchronize(10'000);
    FAIL() << "the call was to time out";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCollectiveTimeout);
    EXPECT_NE(error.message().find("rank 1 (host:1)"), std::string::npos) << error.message();
    EXPECT_EQ(error.message().find("rank 0 (host:0)"), std::string::npos) << error.message();
  }
  gate.open();
}

}  // namespace
}  // namespace fabric
