// Every collective, by both copy algorithms, against a plain reference.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <tuple>

#include "collective/algorithms.h"
#include "collective_run.h"
#include "fabric/event_log.h"

namespace fabric {
namespace {

using test::Call;
using test::CallBuffers;
using test::host_devices;
using test::run_checked;

constexpr CollectiveKind kKinds[] = {CollectiveKind::kAllReduce, CollectiveKind::kBroadcast,
                                     CollectiveKind::kAllGather, CollectiveKind::kReduceScatter,
                                     CollectiveKind::kReduce};

bool reduces(CollectiveKind kind) {
  return kind != CollectiveKind::kBroadcast && kind != CollectiveKind::kAllGather;
}

bool allowed(const Call& call) { return call.op != ReduceOp::kAvg || is_floating(call.dtype); }

// Parameters: algorithm, ranks.
class EveryCollective : public ::testing::TestWithParam<std::tuple<const char*, int>> {
 protected:
  void SetUp() override {
    force_algorithm(std::get<0>(GetParam()));
    devices_ = host_devices(std::get<1>(GetParam()));
    group_ = Group::create(devices_);
  }
  void TearDown() override {
    force_algorithm("");
    faults::clear();
    ring_tuning() = RingTuning();
  }
  int n() const { return static_cast<int>(devices_.size()); }

  void run_all(uint64_t count, DType dtype, ReduceOp op) {
    for (CollectiveKind kind : kKinds) {
      if (!reduces(kind) && op != ReduceOp::kSum) continue;
      for (bool in_place : {false, true}) {
        Call call{kind, op, dtype, count, n() - 1, in_place};
        if (allowed(call)) run_checked(*group_, devices_, call);
      }
    }
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
};

TEST_P(EveryCollective, MatchesTheReferenceForEveryDtypeAndOpOnSmallCounts) {
  for (uint64_t count : {0, 1, 7, 130}) {
    for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
      for (ReduceOp op :
           {ReduceOp::kSum, ReduceOp::kAvg, ReduceOp::kMax, ReduceOp::kMin, ReduceOp::kProd}) {
        run_all(count, static_cast<DType>(dtype), op);
      }
    }
  }
}

TEST_P(EveryCollective, MatchesTheReferenceOnOddMiddleCounts) {
  constexpr uint64_t kCount = (64 << 10) + 3;
  run_all(kCount, DType::kF32, ReduceOp::kSum);
  run_all(kCount, DType::kBF16, ReduceOp::kAvg);
  run_all(kCount, DType::kI64, ReduceOp::kMax);
}

TEST_P(EveryCollective, MatchesTheReferenceOnLargeCountsThatOverlapCopyAndCombine) {
  constexpr uint64_t kCount = 1 << 20;
  ring_tuning() = {.piece_bytes = 256 << 10, .max_pieces = 4};
  bool in_place = n() % 2 == 0;
  for (CollectiveKind kind : kKinds) {
    const bool blocks =
        kind == CollectiveKind::kAllGather || kind == CollectiveKind::kReduceScatter;
    Call call{kind, ReduceOp::kSum, DType::kF64, blocks ? kCount / n() : kCount, 0, in_place};
    run_checked(*group_, devices_, call);
    in_place = !in_place;
  }
}

TEST_P(EveryCollective, MatchesTheReferenceInManyBatchesAndPieces) {
  ring_tuning() = {
      .batch_bytes = 10'000, .piece_bytes = 300, .max_pieces = 4, .overlap_bytes = 1'000};
  for (uint64_t count : {2'501, 20'011}) {
    run_all(count, DType::kF32, ReduceOp::kSum);
    run_all(count, DType::kU8, ReduceOp::kMax);
  }
  ring_tuning().overlap_bytes = 1 << 30;
  run_all(20'011, DType::kF32, ReduceOp::kAvg);
}

TEST_P(EveryCollective, IsCorrectThroughStagingWhenPeerAccessIsLost) {
  for (int other = 1; other < n(); ++other) faults::set_peer_access(0, other, false);
  for (uint64_t count : {5, 3'000, 100'003}) run_all(count, DType::kF32, ReduceOp::kSum);
  ring_tuning() = {.batch_bytes = 10'000, .piece_bytes = 300, .overlap_bytes = 1'000};
  run_all(20'011, DType::kF32, ReduceOp::kSum);
  faults::clear();
  run_all(3'000, DType::kF32, ReduceOp::kSum);
}

TEST_P(EveryCollective, EnqueuesABoundedNumberOfOperationsWhateverTheSize) {
  ring_tuning() = {.batch_bytes = 64 << 10, .piece_bytes = 1'000, .overlap_bytes = 1'000};
  auto operations = [&](uint64_t count) {
    const LogMode before = event_log::mode();
    event_log::set_mode(LogMode::kBasic);
    const uint64_t since = event_log::read(0, 0).next_sequence;
    run_checked(*group_, devices_,
                {CollectiveKind::kAllReduce, ReduceOp::kSum, DType::kF32, count, 0, true});
    event_log::set_mode(before);
    uint64_t copies = 0, combines = 0, edges = 0;
    const EventSlice slice = event_log::read(since, event_log::capacity());
    EXPECT_EQ(slice.dropped, 0u);
    for (const EventRecord& event : slice.events) {
      const auto kind = static_cast<EventKind>(event.kind);
      copies += kind == EventKind::kCopy ? 1 : 0;
      combines += kind == EventKind::kCollectiveCombine ? 1 : 0;
      edges += kind == EventKind::kEventRecord || kind == EventKind::kEventWait ? 1 : 0;
    }
    return std::array<uint64_t, 3>{copies, combines, edges};
  };
  const auto four_batches = operations(64 << 10);
  EXPECT_EQ(operations(1 << 20), four_batches);
  if (std::get<0>(GetParam()) != std::string("copy-ring") || n() == 1) return;
  const uint64_t ranks = static_cast<uint64_t>(n());
  EXPECT_EQ(four_batches[0], kMostBatches * ranks * 2 * (ranks - 1) * 2);  // two pieces a step
  EXPECT_EQ(four_batches[1], kMostBatches * ranks * (ranks - 1) * 2);
}

TEST_P(EveryCollective, GivesTheSameBitsAtAllRanks) {
  constexpr uint64_t kCount = 5'003;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<Block*> blocks;
  std::vector<CollectiveArgs> args(devices_.size());
  for (int r = 0; r < n(); ++r) {
    Stream& stream = devices_[r]->compute();
    blocks.push_back(devices_[r]->allocator().allocate(kCount * sizeof(float), stream));
    std::vector<float> values(kCount);
    for (float& v : values) v = normal(random);
    host::enqueue(stream.handle(), [values, to = blocks[r]->ptr] {
      std::memcpy(to, values.data(), values.size() * sizeof(float));
    });
    args[r].count = kCount;
    args[r].in = args[r].out = blocks[r]->ptr;
    args[r].stream = &stream;
  }
  for (auto& work : group_->submit_all(args)) EXPECT_TRUE(work->synchronize(30'000));
  for (int r = 1; r < n(); ++r) {
    EXPECT_EQ(std::memcmp(blocks[0]->ptr, blocks[r]->ptr, kCount * sizeof(float)), 0) << r;
  }
  for (int r = 0; r < n(); ++r) devices_[r]->allocator().free(blocks[r]);
}

INSTANTIATE_TEST_SUITE_P(Both, EveryCollective,
                         ::testing::Combine(::testing::Values("copy-ring", "copy-oneshot"),
                                            ::testing::Range(1, 9)),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           name.replace(4, 1, "_");
                           return name + "_" + std::to_string(std::get<1>(info.param));
                         });

class Algorithms : public test::CleanFabric {
 protected:
  // Sums `count` random floats of four ranks; returns rank 0's bits.
  std::vector<float> sum_of_random(uint64_t count, bool held) {
    auto devices = host_devices(4);
    auto group = Group::create(devices);
    std::vector<Block*> blocks;
    std::vector<CollectiveArgs> args(4);
    test::Gate gate;
    for (int r = 0; r < 4; ++r) {
      Stream& stream = devices[r]->compute();
      if (held) gate.hold(stream);
      blocks.push_back(devices[r]->allocator().allocate(count * sizeof(float), stream));
      host::enqueue(stream.handle(), [r, count, to = static_cast<float*>(blocks[r]->ptr)] {
        std::mt19937 random(100 + r);
        std::normal_distribution<float> normal;
        for (uint64_t i = 0; i < count; ++i) to[i] = normal(random);
      });
      if (!held) stream.synchronize();
      args[r].count = count;
      args[r].in = args[r].out = blocks[r]->ptr;
      args[r].stream = &stream;
    }
    auto works = group->submit_all(args);
    gate.open();
    for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
    const auto* data = static_cast<const float*>(blocks[0]->ptr);
    std::vector<float> result(data, data + count);
    for (int r = 0; r < 4; ++r) devices[r]->allocator().free(blocks[r]);
    return result;
  }
};

TEST_F(Algorithms, OneshotGivesTheSameBitsForEverySizeAndPath) {
  force_algorithm("copy-oneshot");
  const std::vector<float> large = sum_of_random(40'000, true);
  for (uint64_t count : {1, 5, 64, 1'024, 9'000}) {
    for (bool held : {false, true}) {  // idle streams take the direct path up to 4 KiB
      const std::vector<float> small = sum_of_random(count, held);
      EXPECT_EQ(std::memcmp(small.data(), large.data(), count * sizeof(float)), 0) << count;
    }
  }
}

// A gradient that is reduced whole and one that is reduced in shards: the same bits.
TEST_F(Algorithms, AReduceScatterHasTheBitsOfTheAllReduceOfTheSameBuffer) {
  constexpr int kRanks = 4;
  auto devices = host_devices(kRanks);
  auto group = Group::create(devices);
  for (const uint64_t block : {1u, 1'000u, 4'096u, 4'224u, 128u << 10}) {  // both algorithms
    const uint64_t count = block * kRanks;
    std::vector<Block*> ins, outs;
    std::vector<CollectiveArgs> scatter(kRanks), reduce(kRanks);
    for (int r = 0; r < kRanks; ++r) {
      Stream& stream = devices[r]->compute();
      ins.push_back(devices[r]->allocator().allocate(count * sizeof(float), stream));
      outs.push_back(devices[r]->allocator().allocate(block * sizeof(float), stream));
      host::enqueue(stream.handle(), [r, count, to = static_cast<float*>(ins[r]->ptr)] {
        std::mt19937 random(7 + r);
        std::normal_distribution<float> normal;
        for (uint64_t i = 0; i < count; ++i) to[i] = normal(random);
      });
      scatter[r].kind = CollectiveKind::kReduceScatter;
      scatter[r].op = reduce[r].op = ReduceOp::kAvg;
      scatter[r].count = block;
      reduce[r].count = count;
      scatter[r].in = reduce[r].in = reduce[r].out = ins[r]->ptr;
      scatter[r].out = outs[r]->ptr;
      scatter[r].stream = reduce[r].stream = &stream;
    }
    for (auto& work : group->submit_all(scatter)) EXPECT_TRUE(work->synchronize(30'000));
    for (auto& work : group->submit_all(reduce)) EXPECT_TRUE(work->synchronize(30'000));
    for (int r = 0; r < kRanks; ++r) {
      const auto* whole = static_cast<const float*>(ins[r]->ptr);
      EXPECT_EQ(std::memcmp(whole + r * block, outs[r]->ptr, block * sizeof(float)), 0)
          << block << " elements a rank, rank " << r;
    }
    for (int r = 0; r < kRanks; ++r) {
      devices[r]->allocator().free(ins[r]);
      devices[r]->allocator().free(outs[r]);
    }
  }
}

CallShape shape(CollectiveKind kind, uint64_t bytes, uint32_t group = 0) {
  CallShape call{kind};
  call.ranks = 4;
  call.bytes = bytes;
  call.count = bytes / 4;
  call.group = group;
  return call;
}

TEST_F(Algorithms, TheTableTakesOneshotForSmallAndRingForLarge) {
  auto name = [](CollectiveKind kind, uint64_t bytes) {
    return choose_algorithm(shape(kind, bytes)).algorithm->name;
  };
  EXPECT_EQ(name(CollectiveKind::kAllReduce, 4), "copy-oneshot");
  EXPECT_EQ(name(CollectiveKind::kAllReduce, 64 << 10), "copy-oneshot");
  EXPECT_EQ(name(CollectiveKind::kAllReduce, (64 << 10) + 4), "copy-ring");
  // Of four ranks: a quarter of the buffer is the size of the call.
  EXPECT_EQ(name(CollectiveKind::kReduceScatter, 16 << 10), "copy-oneshot");
  EXPECT_EQ(name(CollectiveKind::kReduceScatter, (16 << 10) + 4), "copy-ring");
  EXPECT_EQ(name(CollectiveKind::kBarrier, 0), "copy-oneshot");
}

TEST_F(Algorithms, AForcedOneIsTakenWhereItCan) {
  force_algorithm("copy-ring");
  const auto name = [](CollectiveKind kind, uint64_t bytes, uint32_t group) {
    return choose_algorithm(shape(kind, bytes, group)).algorithm->name;
  };
  EXPECT_EQ(name(CollectiveKind::kAllReduce, 4, 1), "copy-ring");
  EXPECT_EQ(name(CollectiveKind::kBarrier, 0, 1), "copy-oneshot");
  EXPECT_THROW(force_algorithm("carrier-pigeon"), Error);
  force_algorithm("copy-oneshot", 1);  // of one group: goes before
  EXPECT_EQ(name(CollectiveKind::kAllReduce, 1 << 20, 1), "copy-oneshot");
  EXPECT_EQ(name(CollectiveKind::kAllReduce, 1 << 20, 2), "copy-ring");
  force_algorithm("", 1);
  EXPECT_EQ(name(CollectiveKind::kAllReduce, 4, 1), "copy-ring");
}

TEST_F(Algorithms, MeasuredLinesGoBeforeAddedOnesAndThoseBeforeTheTable) {
  const auto name = [](uint64_t bytes, DType dtype = DType::kF32) {
    CallShape call = shape(CollectiveKind::kAllReduce, bytes);
    call.dtype = dtype;
    return choose_algorithm(call).algorithm->name;
  };
  Algorithm middle = *algorithms()[1];
  middle.name = "middle";
  register_algorithm(middle);
  EXPECT_EQ(name(1 << 20), "copy-ring");
  Choice line{CollectiveKind::kAllReduce, "middle", 4 << 20};
  line.dtype = DType::kF32;
  add_choices({line});
  EXPECT_EQ(name(1 << 20), "middle");
  EXPECT_EQ(name(1 << 20, DType::kF64), "copy-ring");
  EXPECT_EQ(name(8 << 20), "copy-ring");
  set_choices({{CollectiveKind::kAllReduce, "copy-oneshot", 2 << 20}});
  EXPECT_EQ(name(1 << 20), "copy-oneshot");
  EXPECT_EQ(name(3 << 20), "middle");
  set_choices({});
  EXPECT_TRUE(unregister_algorithm("middle"));
  EXPECT_FALSE(unregister_algorithm("middle"));
  EXPECT_EQ(name(1 << 20), "copy-ring");
  EXPECT_EQ(algorithms().back()->name, "middle");  // its place keeps the name
  EXPECT_FALSE(algorithms().back()->supports);
  register_algorithm(middle);  // and takes it again
  EXPECT_EQ(name(1 << 20), "copy-ring");
  unregister_algorithm("middle");
}

TEST_F(Algorithms, RegisteringNeedsAFreeNameAndAllParts) {
  EXPECT_THROW(register_algorithm(*algorithms().front()), Error);
  EXPECT_THROW(register_algorithm({"empty", false}), Error);
  ASSERT_GE(algorithms().size(), 2u);
  EXPECT_EQ(algorithms()[0]->name, "copy-ring");
  EXPECT_FALSE(algorithms()[0]->rank_order);
  EXPECT_TRUE(algorithms()[1]->rank_order);
}

TEST_F(Algorithms, AnAverageOfIntegersIsAUsageErrorAtEveryRank) {
  auto devices = host_devices(2);
  auto group = Group::create(devices);
  int value = 0;
  std::vector<CollectiveArgs> args(2);
  for (auto& part : args) {
    part.op = ReduceOp::kAvg;
    part.dtype = DType::kI32;
    part.count = 1;
    part.in = part.out = &value;
  }
  for (auto& work : group->submit_all(args)) {
    try {
      work->wait_launched();
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
    }
  }
  run_checked(*group, devices, {.count = 5});
}

TEST_F(Algorithms, ScratchReturnsToTheAllocatorOverAThousandCalls) {
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  auto rounds = [&](int calls) {
    for (int i = 0; i < calls; ++i) {
      run_checked(*group, devices, {.count = 2'000, .in_place = i % 2 == 0});
      force_algorithm(i % 3 == 0 ? "copy-ring" : "");
    }
    for (Device* device : devices) {
      device->synchronize();
      device->allocator().process_events();
    }
  };
  rounds(20);
  std::vector<AllocatorStats> before;
  for (Device* device : devices) before.push_back(device->allocator().stats());
  rounds(1'000);
  for (size_t r = 0; r < devices.size(); ++r) {
    const AllocatorStats after = devices[r]->allocator().stats();
    EXPECT_EQ(after.live_blocks, before[r].live_blocks);
    EXPECT_EQ(after.allocated_bytes, before[r].allocated_bytes);
    EXPECT_EQ(after.reserved_bytes, before[r].reserved_bytes);
    EXPECT_EQ(after.pending_bytes, before[r].pending_bytes);
  }
}

}  // namespace
}  // namespace fabric
