// GEMM choices without a GPU: what may be chosen, the estimate, the book of a process, the file of a
// machine. The menu here is made up; the real one is compiled for GPUs alone.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "gemm/book.h"

namespace weft {
namespace {

using fabric::DType;
constexpr auto kLinear = GemmEpilogue::kLinear;

const GemmRow kRows[] = {
    {"sm90_bf16_128x256_kk", DType::kBF16, GemmLayout::kKK, kLinear, 128, 256, false},
    {"sm90_bf16_128x128_kk", DType::kBF16, GemmLayout::kKK, kLinear, 128, 128, false},
    {"sm90_bf16_64x128_kk", DType::kBF16, GemmLayout::kKK, kLinear, 64, 128, true},
    {"sm90_bf16_64x128_mn", DType::kBF16, GemmLayout::kMN, kLinear, 64, 128, true},
    {"sm100_bf16_128x64_kk", DType::kBF16, GemmLayout::kKK, kLinear, 128, 64, true},
};
const GemmRow* const kMenu[] = {&kRows[0], &kRows[1], &kRows[2], &kRows[3], &kRows[4]};
const GemmKind kForward{DType::kBF16, GemmLayout::kKK, kLinear};
const GemmGpu kHopper{"NVIDIA H200", 132, 9};

GemmChoice estimated(const GemmSizes& s, const GemmGpu& gpu = kHopper) {
  return estimate_gemm(gemm_candidates(kMenu, kForward, s, gpu), s, gpu);
}

std::optional<GemmChoice> never(const GemmCandidates&) {
  ADD_FAILURE() << "measured";
  return std::nullopt;
}

class GemmChoiceFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("weft-gemm-" + std::to_string(::getpid()) + "-" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    path_ = (folder_ / "choices.json").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& text) {
    std::filesystem::create_directories(folder_);
    std::ofstream(path_) << text;
  }
  std::string text() const {
    std::ifstream in(path_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::filesystem::path folder_;
  std::string path_;
};

TEST(GemmCandidates, HoldOnlyKernelsOfTheKindAndTheArchitecture) {
  const GemmSizes s{4096, 4096, 4096, 1};
  for (const GemmGpu& gpu : {kHopper, GemmGpu{"NVIDIA B200", 148, 10}}) {
    const auto found = gemm_candidates(kMenu, kForward, s, gpu);
    ASSERT_GT(found.count, 0);
    for (int i = 0; i < found.count; ++i) {
      EXPECT_EQ(found.at[i].kernel->kind(), kForward);
      EXPECT_EQ(std::string_view(found.at[i].kernel->name).starts_with("sm90_"),
                gpu.capability_major == 9);
    }
  }
  EXPECT_EQ(gemm_candidates(kMenu, kForward, s, {"NVIDIA A100", 108, 8}).count, 0);
  EXPECT_EQ(estimated(s, {"NVIDIA A100", 108, 8}).kernel, nullptr);
}

TEST(GemmCandidates, SplitOnlyDeepProductsOfFewTiles) {
  const auto deep = gemm_candidates(kMenu, kForward, {128, 128, 8192, 1}, kHopper);
  EXPECT_TRUE(deep.hold({&kRows[2], 16, 1}));
  EXPECT_TRUE(deep.hold({&kRows[2], 0, 1}));
  EXPECT_FALSE(deep.hold({&kRows[1], 2, 1})) << "a kernel that cannot split";
  EXPECT_FALSE(deep.hold({&kRows[2], 3, 1}));
  const auto flat = gemm_candidates(kMenu, kForward, {128, 128, 512, 1}, kHopper);
  EXPECT_FALSE(flat.hold({&kRows[2], 2, 1}));
}

// What the estimate answers is what deterministic runs compute: a change of these rows changes
// the bits of users' runs.
TEST(GemmCandidates, HoldAKernelThatSplitsAloneForItsSplitsAlone) {
  const GemmRow row{"sm90_bf16_split_mn", DType::kBF16, GemmLayout::kMN, kLinear, 64, 128, true, 2};
  const GemmRow* const menu[] = {&row};
  const auto found = gemm_candidates(menu, row.kind(), {256, 256, 8192, 1}, kHopper);
  ASSERT_EQ(found.count, 4);  // 2, 4, 8, 16
  for (int i = 0; i < found.count; ++i) EXPECT_GE(found.at[i].splits, 2);
  EXPECT_EQ(gemm_candidates(menu, row.kind(), {8192, 8192, 8192, 1}, kHopper).count, 0);
  EXPECT_EQ(gemm_candidates(menu, row.kind(), {256, 256, 512, 1}, kHopper).count, 0);
}

TEST(GemmEstimate, IsAFixedFunctionOfShapeAndGpu) {
  EXPECT_EQ(estimated({8192, 8192, 8192, 1}), (GemmChoice{&kRows[0], 1, 1}));
  EXPECT_EQ(estimated({128, 128, 8192, 1}), (GemmChoice{&kRows[2], 16, 1}));
  EXPECT_EQ(estimated({2048, 1024, 512, 1}), (GemmChoice{&kRows[1], 1, 1}));
  EXPECT_EQ(estimated({1024, 1024, 512, 1}), (GemmChoice{&kRows[2], 1, 1}));
  EXPECT_EQ(estimated({8, 264, 4096, 1}), (GemmChoice{&kRows[2], 8, 1}));
}

TEST(GemmEstimate, NeverLeavesTheSplitToTheKernel) {
  for (int k = 64; k <= 65536; k *= 2) {
    for (int m = 16; m <= 16384; m *= 4) {
      const GemmChoice choice = estimated({m, 256, k, 1});
      ASSERT_NE(choice.kernel, nullptr);
      EXPECT_GE(choice.splits, 1);
      EXPECT_EQ(choice.swizzle, 1);
    }
  }
}

TEST_F(GemmChoiceFiles, DeterministicBooksNeitherMeasureNorReadNorWrite) {
  const GemmSizes s{8192, 8192, 8192, 1};
  GemmChoiceFile(path_).append(kMenu, {gemm_key(kForward, s), {&kRows[1], 1, 8}});
  const std::string before = text();
  ASSERT_FALSE(before.empty());
  GemmBook book(kHopper, kMenu, {GemmPolicyKind::kEstimated, {}}, GemmChoiceFile(path_));
  EXPECT_EQ(book.choose(kForward, s, never), estimated(s));
  EXPECT_EQ(book.choose(kForward, {64, 64, 64, 1}, never), estimated({64, 64, 64, 1}));
  EXPECT_EQ(text(), before);
}

TEST_F(GemmChoiceFiles, MeasuredBooksUseTheFileMeasureTheRestAndRemember) {
  const GemmSizes known{8192, 8192, 8192, 1}, fresh{512, 512, 512, 1};
  GemmChoiceFile(path_).append(kMenu, {gemm_key(kForward, known), {&kRows[1], 1, 8}});
  const GemmBook::Measure measure = [](const GemmCandidates& c) { return c.at[c.count - 1]; };
  GemmBook book(kHopper, kMenu, {GemmPolicyKind::kMeasured, {}}, GemmChoiceFile(path_));
  EXPECT_EQ(book.choose(kForward, known, never), (GemmChoice{&kRows[1], 1, 8}));
  const GemmChoice slowest = book.choose(kForward, fresh, measure);
  EXPECT_EQ(slowest, (GemmChoice{&kRows[2], 1, 1}));
  GemmBook next(kHopper, kMenu, {GemmPolicyKind::kMeasured, {}}, GemmChoiceFile(path_));
  EXPECT_EQ(next.choose(kForward, fresh, never), slowest);
}

// A product met first in a capture is not measured; measuring it later would give eager steps
// other bits than the captured one.
TEST_F(GemmChoiceFiles, WhatAProductGotFirstItKeeps) {
  const GemmSizes s{512, 512, 512, 1};
  GemmBook book(kHopper, kMenu, {GemmPolicyKind::kMeasured, {}}, GemmChoiceFile(path_));
  const GemmBook::Measure capturing = [](const GemmCandidates&) { return std::nullopt; };
  const GemmChoice captured = book.choose(kForward, s, capturing);
  EXPECT_EQ(captured, estimated(s));
  EXPECT_EQ(book.choose(kForward, s, never), captured);
  EXPECT_FALSE(std::filesystem::exists(path_)) << "an estimate is not remembered as measured";
}

TEST_F(GemmChoiceFiles, ThreadsThatMeetOneShapeMeasureItOnce) {
  GemmBook book(kHopper, kMenu, {GemmPolicyKind::kMeasured, {}}, GemmChoiceFile(path_));
  std::atomic<int> measured{0};
  std::vector<GemmChoice> got(8);
  {
    std::vector<std::jthread> threads;
    for (GemmChoice& each : got) {
      threads.emplace_back([&] {
        each = book.choose(kForward, {512, 512, 512, 1}, [&](const GemmCandidates& c) {
          return c.at[measured.fetch_add(1) % c.count];
        });
      });
    }
  }
  EXPECT_EQ(measured.load(), 1);
  EXPECT_EQ(std::count(got.begin(), got.end(), got[0]), 8);
}

TEST_F(GemmChoiceFiles, HostileLinesAreIgnored) {
  write(
      "not json\n{\"m\":1\n\n"
      "{\"m\":512,\"n\":512,\"k\":512,\"batch\":1,\"kind\":99,\"kernel\":\"sm90_bf16_128x128_kk\","
      "\"splits\":1,\"swizzle\":1}\n"
      "{\"m\":512,\"n\":512,\"k\":512,\"batch\":1,\"kind\":3,\"kernel\":\"sm90_gone\","
      "\"splits\":1,\"swizzle\":1}\n"
      "{\"m\":99999999999999999999,\"n\":1,\"k\":1,\"batch\":1,\"kind\":3,\"kernel\":\"x\"}\n" +
      std::string(100000, '{') + "\n");
  EXPECT_TRUE(GemmChoiceFile(path_).read(kMenu).empty());
  // A kernel of the right kind with a split that it does not offer for the shape.
  const GemmSizes s{512, 512, 512, 1};
  GemmChoiceFile(path_).append(kMenu, {gemm_key(kForward, s), {&kRows[1], 16, 1}});
  EXPECT_EQ(GemmChoiceFile(path_).read(kMenu).size(), 1u);
  GemmBook book(kHopper, kMenu, {GemmPolicyKind::kMeasured, {}}, GemmChoiceFile(path_));
  const GemmBook::Measure capturing = [](const GemmCandidates&) { return std::nullopt; };
  EXPECT_EQ(book.choose(kForward, s, capturing), estimated(s));
}

TEST_F(GemmChoiceFiles, UsedChoicesGivenToAnotherBookAreTheSame) {
  GemmBook first(kHopper, kMenu, {GemmPolicyKind::kMeasured, {}}, GemmChoiceFile(path_));
  const GemmBook::Measure last = [](const GemmCandidates& c) { return c.at[c.count - 1]; };
  const GemmSizes shapes[] = {{8192, 8192, 8192, 1}, {128, 128, 8192, 1}, {64, 64, 64, 3}};
  for (const GemmSizes& s : shapes) first.choose(kForward, s, last);
  const GemmKind none{DType::kF16, GemmLayout::kMK, kLinear};
  EXPECT_EQ(first.choose(none, shapes[0], last).kernel, nullptr);
  const auto used = first.used();
  EXPECT_EQ(used.size(), 3u) << "a product without a kernel has no choice";

  GemmBook second(kHopper, kMenu, {GemmPolicyKind::kGiven, used}, GemmChoiceFile(path_ + "2"));
  for (const GemmSizes& s : shapes)
    EXPECT_EQ(second.choose(kForward, s, never), first.choose(kForward, s, never));
  const GemmSizes other{256, 4096, 512, 1};
  EXPECT_EQ(second.choose(kForward, other, never), estimated(other));
  EXPECT_FALSE(std::filesystem::exists(path_ + "2"));
}

}  // namespace
}  // namespace weft
