// All-to-all with blocks of any size: every block arrives where it belongs, whoever sends nothing, and
// what two ranks do not agree on is told to all.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "collective_run.h"

namespace fabric {
namespace {

using test::host_devices;

int32_t value_of(int from, int to, uint64_t i) {
  return from * 1'000'000 + to * 10'000 + static_cast<int32_t>(i % 10'000);
}

class Uneven : public test::CleanFabric {
 protected:
  using Counts = std::vector<std::vector<uint64_t>>;  // counts[r][q]: r sends q

  explicit Uneven(int ranks = 4) : devices_(host_devices(ranks)), group_(Group::create(devices_)) {}

  std::vector<CollectiveArgs> parts(const Counts& counts) {
    const size_t n = devices_.size();
    in_.assign(n, {});
    out_.assign(n, {});
    std::vector<CollectiveArgs> all(n);
    for (size_t r = 0; r < n; ++r) {
      for (size_t q = 0; q < n; ++q) {
        for (uint64_t i = 0; i < counts[r][q]; ++i) {
          in_[r].push_back(value_of(static_cast<int>(r), static_cast<int>(q), i));
        }
        all[r].receive_counts.push_back(counts[q][r]);
      }
      const uint64_t received =
          std::accumulate(all[r].receive_counts.begin(), all[r].receive_counts.end(), uint64_t{0});
      out_[r].assign(received + 1, -1);
      all[r].kind = CollectiveKind::kAllToAllUneven;
      all[r].dtype = DType::kI32;
      all[r].count = in_[r].size();
      all[r].send_counts = counts[r];
      all[r].in = in_[r].empty() ? nullptr : in_[r].data();
      all[r].out = received == 0 ? nullptr : out_[r].data();
    }
    return all;
  }
  void run(const Counts& counts) {
    auto args = parts(counts);
    for (auto& work : group_->submit_all(args)) EXPECT_TRUE(work->synchronize(10'000));
    for (size_t q = 0; q < devices_.size(); ++q) {
      std::vector<int32_t> expected;
      for (size_t r = 0; r < devices_.size(); ++r) {
        for (uint64_t i = 0; i < counts[r][q]; ++i) {
          expected.push_back(value_of(static_cast<int>(r), static_cast<int>(q), i));
        }
      }
      expected.push_back(-1);  // nothing is written behind
      EXPECT_EQ(out_[q], expected) << "rank " << q;
    }
  }
  std::string refusal(std::vector<CollectiveArgs> args, ErrorCode code) {
    std::string text;
    for (auto& work : group_->submit_all(args)) {
      try {
        work->wait_launched();
        ADD_FAILURE() << "it was launched";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), code);
        if (!text.empty()) {
          EXPECT_EQ(error.message(), text);
        }
        text = error.message();
      }
    }
    return text;
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
  std::vector<std::vector<int32_t>> in_, out_;
};

TEST_F(Uneven, EveryBlockArrivesWhereItBelongs) {
  std::mt19937 random(11);
  for (bool lost : {false, true}) {
    if (lost) faults::set_peer_access(0, 2, false);
    for (int round = 0; round < 20; ++round) {
      Counts counts(4, std::vector<uint64_t>(4));
      for (auto& row : counts) {
        for (auto& count : row) count = random() % 3 == 0 ? 0 : random() % 2'000;
      }
      SCOPED_TRACE(round);
      run(counts);
    }
  }
}

TEST_F(Uneven, ARankThatSendsOrGetsNothingNeedsNoBuffer) {
  run({{0, 0, 0, 0}, {3, 0, 2, 0}, {0, 0, 0, 0}, {1, 0, 5, 0}});
  run(Counts(4, std::vector<uint64_t>(4, 0)));
}

TEST_F(Uneven, WhatTwoRanksDoNotAgreeOnIsToldToAllAndTheNextCallWorks) {
  const Counts counts = {{1, 2, 3, 4}, {5, 6, 7, 8}, {1, 1, 1, 1}, {2, 2, 2, 2}};
  auto args = parts(counts);
  args[2].receive_counts[1] = 9;
  const std::string text = refusal(args, ErrorCode::kDesync);
  EXPECT_NE(text.find("rank 1 called all_to_all_uneven with 7 x i32 for rank 2, rank 2 with 9 from "
                      "rank 1 (call 1 of group "),
            std::string::npos)
      << text;
  run(counts);
}

TEST_F(Uneven, ListsBuffersAndOverlapsAreRefusedByName) {
  const Counts counts(4, std::vector<uint64_t>(4, 2));
  auto args = parts(counts);
  args[3].send_counts.pop_back();
  EXPECT_NE(refusal(args, ErrorCode::kUsage).find("rank 3 gave 3 counts to send and 4 to receive"),
            std::string::npos);
  args = parts(counts);
  args[1].in = nullptr;
  EXPECT_NE(refusal(args, ErrorCode::kUsage).find("rank 1 gave no input"), std::string::npos);
  args = parts(counts);
  args[0].out = const_cast<void*>(args[0].in);
  EXPECT_NE(
      refusal(args, ErrorCode::kUsage).find("rank 0 gave an input and an output that overlap"),
      std::string::npos);
  run(counts);
}

}  // namespace
}  // namespace fabric
