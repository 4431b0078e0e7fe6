// All-reduces timed side by side: what is right is told so for every dtype, what is wrong is counted, what fails
// is a line of its own and leaves the others measured.
#include "bench/reduce_bench.h"

#include <gtest/gtest.h>

#include "fabric/fabric.h"

namespace weft::bench {
namespace {

std::shared_ptr<fabric::Group> make_group(int ranks) {
  std::vector<Device*> devices;
  for (int r = 0; r < ranks; ++r) {
    devices.push_back(&fabric::open_device("host:" + std::to_string(r)));
  }
  return fabric::Group::create(devices);
}

ReducePlan small_plan(uint64_t bytes) {
  ReducePlan plan;
  plan.bytes = bytes;
  plan.rounds = 3;
  plan.calls = 2;
  plan.graph_calls = 2;
  return plan;
}

const Measured* find(const std::vector<Measured>& list, const std::string& label) {
  for (const Measured& each : list) {
    if (each.label == label) return &each;
  }
  return nullptr;
}

// Registered while it lives: enqueues nothing, so that outputs stay as they were, or fails.
class BadAlgorithm {
 public:
  BadAlgorithm(const std::string& name, bool fails) : name_(name) {
    class Nothing final : public fabric::PreparedCall {
      void enqueue() override {}
    };
    fabric::Algorithm algorithm{name};
    algorithm.supports = [](const fabric::CallShape& shape) {
      return shape.kind == fabric::CollectiveKind::kAllReduce;
    };
    algorithm.prepare =
        [fails](const fabric::CollectiveCall&) -> std::unique_ptr<fabric::PreparedCall> {
      if (fails) fail(ErrorCode::kUsage, "this algorithm never works");
      return std::make_unique<Nothing>();
    };
    fabric::register_algorithm(algorithm);
  }
  ~BadAlgorithm() { fabric::unregister_algorithm(name_); }

 private:
  std::string name_;
};

TEST(SumPattern, CountsEveryWrongElement) {
  Device& device = fabric::open_device("host:0");
  constexpr size_t kBytes = (16u << 20) + 4096;  // more than a piece
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16}) {
    SumPattern pattern(dtype, 1);  // of one rank: the sum is the input
    fabric::Block* block = device.allocator().allocate(kBytes, device.compute());
    pattern.fill(device, 0, block->ptr, kBytes);
    EXPECT_EQ(pattern.wrong(device, block->ptr, kBytes), 0u);
    auto* bytes = static_cast<unsigned char*>(block->ptr);
    bytes[8] ^= 1;
    bytes[kBytes - 1] ^= 1;
    EXPECT_EQ(pattern.wrong(device, block->ptr, kBytes), 2u) << dtype_name(dtype);
    // A piece in a wrong place is no right result.
    EXPECT_GT(pattern.wrong(device, bytes + 4096, 1 << 16), 1000u) << dtype_name(dtype);
    SumPattern::spoil(device, block->ptr, kBytes);
    EXPECT_EQ(pattern.wrong(device, block->ptr, kBytes), kBytes / dtype_bytes(dtype));
    device.allocator().free(block);
  }
}

TEST(ReduceBench, SlicesAndPartsAreCheckedWhereTheyBelong) {
  using fabric::CollectiveKind;
  for (const CollectiveKind kind : {CollectiveKind::kReduceScatter, CollectiveKind::kAllGather}) {
    auto group = make_group(3);
    ReduceBench bench(group, 3 << 14, DType::kF32, false, nullptr, kind);
    const auto results = bench.measure(small_plan(3 << 14));
    const Measured* ring = find(results, "weft copy-ring");
    ASSERT_NE(ring, nullptr);
    for (const Measured& each : results) {
      EXPECT_EQ(each.error, "") << each.label;
      EXPECT_EQ(each.wrong, 0u) << each.label;
      EXPECT_EQ(each.graph_us.size(), 3u) << each.label;
    }
    const uint64_t outputs = kind == CollectiveKind::kAllGather ? 3 * (3 << 14) : 3 << 14;
    bench.spoil("weft", 3 << 14);
    EXPECT_EQ(bench.wrong("weft", 3 << 14), outputs / 4);
    EXPECT_THROW(bench.measure(small_plan(16)), Error);  // no whole elements a slice
  }
  EXPECT_THROW(
      ReduceBench(make_group(2), 64, DType::kF32, true, nullptr, CollectiveKind::kAllGather),
      Error);
  EXPECT_THROW(
      ReduceBench(make_group(2), 64, DType::kF32, false, nullptr, CollectiveKind::kBroadcast),
      Error);
}

TEST(ReduceBench, EveryAlgorithmIsRightAndTimed) {
  for (const int ranks : {2, 3}) {
    auto group = make_group(ranks);
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const bool in_place : {false, true}) {
        ReduceBench bench(group, 1 << 16, dtype, in_place, nullptr);
        for (const uint64_t bytes : {uint64_t{8}, uint64_t{1} << 16}) {
          const auto results = bench.measure(small_plan(bytes));
          for (const char* label : {"weft", "weft copy-ring", "weft copy-oneshot"}) {
            const Measured* each = find(results, label);
            ASSERT_NE(each, nullptr) << label;
            EXPECT_EQ(each->error, "") << label;
            EXPECT_EQ(each->wrong, 0u) << label << " " << bytes << " " << dtype_name(dtype);
            EXPECT_EQ(each->eager_us.size(), 3u);
            EXPECT_EQ(each->graph_us.size(), 3u);
          }
          EXPECT_EQ(find(results, "weft")->algorithm, "copy-oneshot");
        }
      }
    }
  }
}

TEST(ReduceBench, AWrongResultIsCounted) {
  const BadAlgorithm bad("does-nothing", false);
  ReduceBench bench(make_group(2), 4096, DType::kF32, false, nullptr);
  const auto results = bench.measure(small_plan(4096));
  ASSERT_NE(find(results, "weft does-nothing"), nullptr);
  EXPECT_EQ(find(results, "weft does-nothing")->wrong, 2u * 2u * 1024u);  // two ranks, twice
  EXPECT_EQ(find(results, "weft copy-ring")->wrong, 0u);
}

TEST(ReduceBench, AFailureIsItsOwnLine) {
  const BadAlgorithm bad("always-fails", true);
  ReduceBench bench(make_group(2), 4096, DType::kF32, false, nullptr);
  const auto results = bench.measure(small_plan(4096));
  ASSERT_NE(find(results, "weft always-fails"), nullptr);
  EXPECT_NE(find(results, "weft always-fails")->error.find("never works"), std::string::npos);
  EXPECT_TRUE(find(results, "weft always-fails")->eager_us.empty());
  EXPECT_EQ(find(results, "weft copy-ring")->eager_us.size(), 3u);
  EXPECT_EQ(bench.measure(small_plan(1024)).size(), results.size());  // and works on
}

TEST(ReduceBench, RunsBesideOtherWorkOnStreamsOfItsOwn) {
  auto group = make_group(2);
  ReduceBench bench(group, 4096, DType::kF32, false, nullptr);
  bench.measure(small_plan(4096));
  std::vector<Stream*> sides = {&group->device(0).create_stream(),
                                &group->device(1).create_stream()};
  for (const char* label : {"weft", "weft copy-ring"}) {
    bench.spoil(label, 4096);
    EXPECT_EQ(bench.wrong(label, 4096), 2u * 1024u);
    bench.start(label, 4096, 3, sides);
    for (Stream* side : sides) side->synchronize();
    EXPECT_EQ(bench.wrong(label, 4096), 0u) << label;
  }
  EXPECT_THROW(bench.start("nobody", 4096, 1, sides), Error);
  EXPECT_THROW(bench.start("weft", 4096, 1, {sides.data(), 1}), Error);
}

TEST(ReduceBench, WhatCannotBeMeasuredIsRefused) {
  ReduceBench bench(make_group(2), 4096, DType::kF32, false, nullptr);
  EXPECT_THROW(bench.measure(small_plan(8192)), Error);
  EXPECT_THROW(bench.measure(small_plan(6)), Error);
  EXPECT_THROW(ReduceBench(make_group(2), 4096, DType::kI32, false, nullptr), Error);
}

TEST(ReduceBench, TheChoiceCanDifferInPlace) {
  fabric::Choice line{fabric::CollectiveKind::kAllReduce, "copy-ring"};
  line.in_place = true;
  fabric::set_choices({line});
  for (const bool in_place : {false, true}) {
    ReduceBench bench(make_group(2), 4096, DType::kF32, in_place, nullptr);
    EXPECT_EQ(find(bench.measure(small_plan(4096)), "weft")->algorithm,
              in_place ? "copy-ring" : "copy-oneshot");
  }
  fabric::set_choices({});
}

TEST(Nccl, ALibraryThatIsNoNcclIsRefusedByName) {
  try {
    Nccl::open("libm.so.6");
    FAIL() << "libm was taken for NCCL";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDevice);
    EXPECT_NE(error.message().find("ncclGetVersion"), std::string::npos) << error.message();
  }
  EXPECT_STREQ(getenv("NCCL_NVLS_ENABLE"), "0");  // multicast is off before NCCL starts
  try {
    Nccl::open("/nowhere/libnccl.so.2");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("WEFT_NCCL"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace weft::bench
