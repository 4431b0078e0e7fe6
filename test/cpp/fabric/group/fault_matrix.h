// A call of one kind of collective whose ranks call from threads of their own, for
// fault_matrix_test.cc: what each rank got and when, and the words that all must share. After each
// test the next call of the group must work.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "collective_run.h"

namespace fabric::test {

struct Kind {
  const char* name;
  CollectiveKind kind;
  uint64_t count;
  int ranks = 3;
  bool moves = true;
};

class FaultMatrix : public ::testing::TestWithParam<Kind> {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int64_t kDeadlineMs = 60;
  static constexpr int64_t kGraceMs = 1'000;

 protected:
  void SetUp() override {
    devices_ = host_devices(ranks());
    group_ = Group::create(devices_);
    buffers_ = std::make_unique<CallBuffers>(devices_, call());
    for (int r = 0; r < ranks(); ++r) {
      args_.push_back(buffers_->args(r));
      args_.back().result_ms = kDeadlineMs;
    }
    for (Device* device : devices_) device->synchronize();
  }
  void TearDown() override {
    faults::clear();
    for (Device* device : devices_) device->synchronize();
    run_checked(*group_, devices_, call());  // the next call works
    if (buffers_) buffers_->release();
  }

  static int ranks() { return GetParam().ranks; }
  static Call call() {
    return {GetParam().kind, ReduceOp::kSum, DType::kF32, GetParam().count, 0, false};
  }
  std::string name() const { return collective_name(GetParam().kind); }

  /// What each rank in `present` got, each from its own thread; none may take longer than the limit. 0: what is wrong
  /// is told when the last has come, for which a busy machine has time.
  std::vector<Error> outcomes(const std::vector<int>& present, int64_t limit_ms) {
    std::vector<Error> errors(present.size(), Error(ErrorCode::kNone, "no error"));
    std::vector<int64_t> took(present.size());
    std::vector<std::thread> threads;
    const auto start = Clock::now();
    for (size_t i = 0; i < present.size(); ++i) {
      threads.emplace_back([&, i] {
        try {
          auto work =
              group_->submit(present[i], args_[present[i]], limit_ms > 0 ? limit_ms : 10'000);
          if (!work->synchronize(10'000)) errors[i] = Error(ErrorCode::kNone, "nothing in 10 s");
        } catch (const Error& error) {
          errors[i] = error;
        }
        took[i] =
            std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
      });
    }
    for (auto& thread : threads) thread.join();
    for (size_t i = 0; i < present.size(); ++i) {
      EXPECT_LE(took[i], limit_ms + kGraceMs) << "rank " << present[i];
    }
    return errors;
  }
  std::vector<int> all() const {
    std::vector<int> list;
    for (int r = 0; r < ranks(); ++r) list.push_back(r);
    return list;
  }
  std::vector<int> all_but(int rank) const {
    std::vector<int> list = all();
    std::erase(list, rank);
    return list;
  }
  static void expect_all(const std::vector<Error>& errors, ErrorCode code,
                         const std::string& words) {
    for (const Error& error : errors) {
      EXPECT_EQ(error.code(), code) << error.message();
      EXPECT_TRUE(std::regex_search(error.message(), std::regex(words))) << error.message() << "\n"
                                                                         << words;
      EXPECT_EQ(error.message(), errors[0].message());
    }
  }
  /// "all_reduce (call 1 of group 3): "
  std::string site() const { return "^" + name() + " \\(call 1 of group \\d+\\): "; }
  static std::string since() { return "since \\d\\d:\\d\\d:\\d\\d\\.\\d{3} UTC"; }
  /// Every rank whose result depends on the stalled one gets the sentence; another may be done.
  void expect_stall(const std::vector<Error>& errors, const std::string& words) const {
    std::vector<Error> told;
    for (const Error& error : errors) {
      if (error.code() != ErrorCode::kNone || error.message() != "no error") told.push_back(error);
    }
    EXPECT_FALSE(told.empty());
    expect_all(told, ErrorCode::kCollectiveTimeout,
               site() + "launched, but not done within \\d+ ms; " + words + since() + "$");
  }
  void expect_aborted(std::vector<std::shared_ptr<Work>>& works) {
    std::vector<Error> errors(works.size(), Error(ErrorCode::kNone, "no error"));
    std::vector<std::thread> waiters;
    for (size_t i = 0; i < works.size(); ++i) {
      waiters.emplace_back([&, i] {
        try {
          if (!works[i]->synchronize(10'000))
            errors[i] = Error(ErrorCode::kNone, "nothing in 10 s");
        } catch (const Error& error) {
          errors[i] = error;
        }
      });
    }
    const auto start = Clock::now();
    std::thread([&] { group_->abort(Error(ErrorCode::kWorker, "worker 1 died")); }).join();
    for (auto& waiter : waiters) waiter.join();
    EXPECT_LE(Clock::now() - start, std::chrono::milliseconds(kGraceMs));
    expect_all(errors, ErrorCode::kWorker, "^worker 1 died$");
    group_->reset();
  }
  /// Does rank 1 give anything? The root, which alone gives in some kinds, is rank 0.
  bool reads(int rank) const { return args_[rank].in != nullptr; }
  bool writes(int rank) const { return args_[rank].out != nullptr; }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
  std::unique_ptr<CallBuffers> buffers_;
  std::vector<CollectiveArgs> args_;
  int broken_ = 0;
};

}  // namespace fabric::test
