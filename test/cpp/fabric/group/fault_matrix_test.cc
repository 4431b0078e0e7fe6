// Every kind of collective against every fault, in every phase of a call: a rank that never comes or
// comes late, arguments that differ or are missing, callbacks and launches that throw, streams and
// copies that stall after the launch, an abort from another thread, a lost device. Each rank calls
// from a thread of its own and must end within the deadline and a second, all with one sentence; the
// next call of the group must work.
#include "fault_matrix.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace fabric {
namespace {

using test::FaultMatrix;
using test::Gate;
using test::Kind;
using Clock = FaultMatrix::Clock;

/// The call itself, or the last one of a coalesced one.
CollectiveArgs& one_call(CollectiveArgs& args) {
  return args.kind == CollectiveKind::kCoalesced ? args.calls.back() : args;
}

TEST_P(FaultMatrix, ARankThatNeverComesIsNamedWithWhereItStands) {
  const auto errors = outcomes(all_but(1), kDeadlineMs);
  expect_all(
      errors, ErrorCode::kCollectiveTimeout,
      site() + "rank 1 did not arrive within \\d+ ms; (rank 0 waited|ranks 0, 2 waited together) " +
          since() + "; rank 1 \\(host:1\\) is before the call: it made no call yet$");
}

TEST_P(FaultMatrix, ARankThatComesTooLateHearsTheSame) {
  const auto errors = outcomes(all_but(1), kDeadlineMs);
  auto late = outcomes({1}, 0);
  late.insert(late.end(), errors.begin(), errors.end());
  expect_all(late, ErrorCode::kCollectiveTimeout, site() + "rank 1 did not arrive");
}

TEST_P(FaultMatrix, ARankThatComesLateButInTimeHoldsNobodyUp) {
  for (auto& part : args_) part.result_ms = 10'000;
  std::vector<std::shared_ptr<Work>> works(args_.size());
  for (int rank : all_but(1)) works[rank] = group_->submit(rank, args_[rank], 10'000);
  for (int rank : all_but(1)) EXPECT_FALSE(works[rank]->launched());
  works[1] = group_->submit(1, args_[1], 10'000);
  for (auto& work : works) EXPECT_TRUE(work->synchronize(10'000));
}

TEST_P(FaultMatrix, AMissingRankAndWhatTheOthersDifferInAreBothTold) {
  if (ranks() < 3) GTEST_SKIP() << "one rank that came differs from nobody";
  args_[2].kind = GetParam().kind == CollectiveKind::kBarrier ? CollectiveKind::kAllReduce
                                                              : CollectiveKind::kBarrier;
  const auto errors = outcomes({0, 2}, kDeadlineMs);
  expect_all(
      errors, ErrorCode::kCollectiveTimeout,
      "rank 1 did not arrive .*; those that came differ: rank 0 brought " + name() + ".*, rank 2 ");
}

TEST_P(FaultMatrix, AnotherKindCountDtypeOpOrRootIsADesyncOfThatRank) {
  const CollectiveArgs right = args_[1];
  std::vector<std::function<void(CollectiveArgs&)>> changes = {[](CollectiveArgs& args) {
    args.kind = args.kind == CollectiveKind::kBarrier ? CollectiveKind::kAllReduce
                                                      : CollectiveKind::kBarrier;
  }};
  const CollectiveKind kind = GetParam().kind;
  const bool sums = kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduce ||
                    kind == CollectiveKind::kReduceScatter;
  const bool rooted = kind == CollectiveKind::kBroadcast || kind == CollectiveKind::kReduce ||
                      kind == CollectiveKind::kGather || kind == CollectiveKind::kScatter;
  if (GetParam().moves) {
    if (kind != CollectiveKind::kAllToAllUneven) {
      changes.push_back([](CollectiveArgs& args) { one_call(args).count -= 1; });
    }
    changes.push_back([](CollectiveArgs& args) { one_call(args).dtype = DType::kI32; });
  }
  if (kind == CollectiveKind::kCoalesced) {
    changes.push_back([](CollectiveArgs& args) { args.calls.pop_back(); });
  }
  if (sums) changes.push_back([](CollectiveArgs& args) { args.op = ReduceOp::kMax; });
  if (rooted) changes.push_back([](CollectiveArgs& args) { args.root = 1; });
  for (const auto& change : changes) {
    args_[1] = right;
    change(args_[1]);
    const auto errors = outcomes(all(), 0);
    expect_all(errors, ErrorCode::kDesync,
               "^rank 1 called .*, rank 0 .*\\(call \\d+ of group \\d+\\)$");
  }
}

TEST_P(FaultMatrix, AMissingBufferOrARootThatIsNoRankIsToldToAll) {
  if (!GetParam().moves) GTEST_SKIP() << "a barrier has no buffers";
  const int rank = reads(1) || writes(1) ? 1 : 0;
  const bool input = reads(rank);
  CollectiveArgs& call = one_call(args_[rank]);
  (input ? call.in = nullptr : call.out = nullptr);
  expect_all(outcomes(all(), 0), ErrorCode::kUsage,
             "^" + std::string(collective_name(call.kind)) + "( as coalesced call 3 of 3)?: rank " +
                 std::to_string(rank) + " gave no " + (input ? "input" : "output"));
}

TEST_P(FaultMatrix, ACallbackThatThrowsFailsTheCallForAll) {
  args_[1].on_launched = [](Stream&) { throw std::runtime_error("the owner of rank 1 broke"); };
  expect_all(outcomes(all(), 0), ErrorCode::kUsage, "the owner of rank 1 broke");
}

TEST_P(FaultMatrix, ACopyThatCannotBeEnqueuedFailsTheCallForAll) {
  if (!GetParam().moves) GTEST_SKIP() << "a barrier copies nothing";
  for (auto& part : args_) part.result_ms = 10'000;  // a call that copies nothing there ends well
  for (int device = 0; device < ranks(); ++device) {
    faults::fail_copies(device, 1);
    // Who copies depends on the kind: a device that copies nothing leaves the call as it is.
    const auto errors = outcomes(all(), 0);
    if (errors[0].code() != ErrorCode::kNone) {
      expect_all(errors, ErrorCode::kPeerAccess,
                 "host:" + std::to_string(device) + ": this copy fails");
      ++broken_;
    }
    faults::clear();
    for (Device* each : devices_) each->synchronize();
    run_checked(*group_, devices_, call());
  }
  EXPECT_GE(broken_, 1);
}

TEST_P(FaultMatrix, MemoryThatCannotBeHadFailsTheCallForAllOrIsNotNeeded) {
  Allocator& allocator = devices_[1]->allocator();
  for (auto& part : args_) part.result_ms = 10'000;
  faults::fail_allocations(1, 1'000'000);
  std::vector<Block*> taken;  // all that the cache of the device still has
  for (size_t bytes : {size_t{4} << 20, size_t{64} << 10, size_t{512}}) {
    try {
      for (;;) taken.push_back(allocator.allocate(bytes, devices_[1]->comm()));
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kOutOfMemory);
    }
  }
  const auto errors = outcomes(all(), 0);
  for (Block* block : taken) allocator.free(block);
  const CollectiveKind kind = GetParam().kind;
  const bool takes_scratch =
      kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduce ||
      kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kCoalesced;
  if (takes_scratch) {
    expect_all(errors, ErrorCode::kOutOfMemory, "host:1");
  } else {
    expect_all(errors, ErrorCode::kNone, "^no error$");
  }
}

TEST_P(FaultMatrix, AProducerThatStallsIsNamed) {
  Gate gate;
  gate.hold(devices_[1]->compute());
  gate.wait_reached();
  const auto errors = outcomes(all(), 0);
  gate.open();
  // Where rank 1 has no part in a result, that rank's result is there.
  expect_stall(errors,
               "rank 1 \\(host:1\\) is stalled before the call: its own stream has not come "
               "to it, the other ranks wait for it ");
}

TEST_P(FaultMatrix, ACommunicationStreamThatStallsIsNamed) {
  Gate gate;
  gate.hold(group_->stream(1));
  gate.wait_reached();
  const auto errors = outcomes(all(), 0);
  gate.open();
  expect_stall(errors,
               "rank 1 \\(host:1\\) is stalled before the call: its communication stream has "
               "not come to it, the other ranks wait for it ");
}

TEST_P(FaultMatrix, CopiesThatDoNotEndAreNamed) {
  if (!GetParam().moves) GTEST_SKIP() << "a barrier copies nothing";
  for (int a = 0; a < ranks(); ++a) {
    for (int b = 0; b < ranks(); ++b) {
      if (a != b) faults::set_pair_fault(a, b, faults::PairFault::kHangs);
    }
  }
  expect_stall(
      outcomes(all(), 0),
      "ranks? \\d \\(host:\\d\\).* (is|are) stalled within the call: its copies or sums do "
      "not end, the other ranks wait for (it|them) ");
}

TEST_P(FaultMatrix, AnAbortFromAnotherThreadEndsAGatheringCall) {
  std::vector<std::shared_ptr<Work>> works;
  for (int rank : all_but(1)) works.push_back(group_->submit(rank, args_[rank], 60'000));
  expect_aborted(works);
}

TEST_P(FaultMatrix, AnAbortFromAnotherThreadEndsALaunchedCall) {
  Gate gate;
  for (int rank : all()) gate.hold(group_->stream(rank));
  gate.wait_reached();
  for (auto& part : args_) part.result_ms = 60'000;
  std::vector<std::shared_ptr<Work>> works;
  for (int rank : all()) works.push_back(group_->submit(rank, args_[rank], 60'000));
  expect_aborted(works);
  gate.open();
}

// In a process of its own, which a lost device ends.
TEST_P(FaultMatrix, ALostDeviceEndsGatheringAndLaunchedCallsForAll) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto lose = [&](const std::vector<int>& present) {
    Gate gate;
    for (int rank : all()) gate.hold(group_->stream(rank));
    gate.wait_reached();
    for (auto& part : args_) part.result_ms = 60'000;
    std::vector<std::shared_ptr<Work>> works;
    for (int rank : present) works.push_back(group_->submit(rank, args_[rank], 60'000));
    const auto start = Clock::now();
    std::thread([] { poison("host:1 was lost"); }).join();
    size_t told = 0;
    for (auto& work : works) {
      try {
        work->synchronize(10'000);
      } catch (const Error& error) {
        told += error.code() == ErrorCode::kPoisoned &&
                error.message().find("host:1 was lost") != std::string::npos;
      }
    }
    const bool in_time = Clock::now() - start <= std::chrono::milliseconds(kGraceMs);
    std::fprintf(stderr, "%zu of %zu told%s\n", told, works.size(), in_time ? "" : ", too late");
    std::_Exit(told == works.size() && in_time ? 0 : 1);
  };
  EXPECT_EXIT(lose(all_but(1)), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(lose(all()), testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(
    Over, FaultMatrix,
    ::testing::Values(Kind{"AllReduceOneshot", CollectiveKind::kAllReduce, 5'000},
                      Kind{"AllReduceRing", CollectiveKind::kAllReduce, 50'000},
                      Kind{"BroadcastOneshot", CollectiveKind::kBroadcast, 5'000},
                      Kind{"BroadcastChain", CollectiveKind::kBroadcast, 50'000},
                      Kind{"AllGather", CollectiveKind::kAllGather, 5'000},
                      Kind{"ReduceScatter", CollectiveKind::kReduceScatter, 5'000},
                      Kind{"Reduce", CollectiveKind::kReduce, 5'000},
                      Kind{"Gather", CollectiveKind::kGather, 5'000},
                      Kind{"Scatter", CollectiveKind::kScatter, 5'000},
                      Kind{"AllToAll", CollectiveKind::kAllToAll, 5'000},
                      Kind{"AllToAllUneven", CollectiveKind::kAllToAllUneven, 5'000},
                      Kind{"SendReceive", CollectiveKind::kSendReceive, 5'000, 2},
                      Kind{"Coalesced", CollectiveKind::kCoalesced, 5'000},
                      Kind{"Barrier", CollectiveKind::kBarrier, 0, 3, false}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace fabric
