// How a process chooses GEMM kernels: when that may change, and what of choices given back is
// refused.
#include <gtest/gtest.h>

#include "fabric/error.h"
#include "gemm/candidates.h"
#include "gemm/policy.h"

namespace weft {
namespace {

using fabric::DType;
using fabric::ErrorCode;
using Kind = GemmPolicyKind;

const GemmRow kRows[] = {
    {"sm90_bf16_128x128_kk", DType::kBF16, GemmLayout::kKK, GemmEpilogue::kLinear, 128, 128, false},
    {"sm90_bf16_64x128_kk", DType::kBF16, GemmLayout::kKK, GemmEpilogue::kLinear, 64, 128, true},
    {"sm100_bf16_128x64_kk", DType::kBF16, GemmLayout::kKK, GemmEpilogue::kLinear, 128, 64, true},
};
const GemmRow* const kMenu[] = {&kRows[0], &kRows[1], &kRows[2]};
const GemmGpu kH200{"NVIDIA H200", 132, 9};
const GivenRow kRow{"sm90_bf16_64x128_kk", {128, 128, 8192, 1}, 4, 1};

template <typename F>
void expect_error(ErrorCode code, const std::string& part, F body) {
  try {
    body();
    ADD_FAILURE() << "no error; expected " << part;
  } catch (const fabric::Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_NE(error.message().find(part), std::string::npos) << error.message();
  }
}

TEST(GemmPolicy, BeginsByTheEnvironment) {
  EXPECT_EQ(GemmPolicy(nullptr).kind(), Kind::kMeasured);
  EXPECT_EQ(GemmPolicy("").kind(), Kind::kMeasured);
  EXPECT_EQ(GemmPolicy("0").kind(), Kind::kMeasured);
  EXPECT_EQ(GemmPolicy("1").kind(), Kind::kEstimated);
  for (const char* wrong : {"yes", "true", "2", " 1"})
    expect_error(ErrorCode::kUsage, "WEFT_DETERMINISTIC", [&] { GemmPolicy policy(wrong); });
}

TEST(GemmPolicy, DeterministicMustComeBeforeAGpuOpens) {
  GemmPolicy policy(nullptr);
  expect_error(ErrorCode::kUsage, "opened a GPU without it",
               [&] { policy.require_deterministic(true); });
  EXPECT_EQ(policy.kind(), Kind::kMeasured);
  policy.require_deterministic(false);
  EXPECT_EQ(policy.kind(), Kind::kEstimated);
  policy.require_deterministic(true);  // it is, already
}

TEST(GemmPolicy, NothingChangesOnceAProductWasChosen) {
  GemmPolicy policy(nullptr);
  EXPECT_EQ(policy.settle(kH200).kind, Kind::kMeasured);
  expect_error(ErrorCode::kUsage, "too late", [&] { policy.require_deterministic(false); });
  expect_error(ErrorCode::kUsage, "too late",
               [&] { policy.give({check_given(kMenu, kH200, {kRow})}, false); });
  policy.reset(false);
  EXPECT_EQ(policy.kind(), Kind::kMeasured);
}

TEST(GemmPolicy, AFailedOpeningLeavesNothingBehind) {
  GemmPolicy policy(nullptr), deterministic("1");
  policy.require_deterministic(false);
  policy.reset(false);
  EXPECT_EQ(policy.kind(), Kind::kMeasured);
  deterministic.reset(false);
  EXPECT_EQ(deterministic.kind(), Kind::kEstimated);
  policy.require_deterministic(false);
  policy.reset(true);
  EXPECT_EQ(policy.kind(), Kind::kEstimated) << "an open GPU keeps what it was opened with";
}

TEST(GemmPolicy, GivenChoicesHoldForTheirGpuModelAlone) {
  GemmPolicy policy("1");
  const GivenGemms given = check_given(kMenu, kH200, {kRow});
  policy.give({given}, false);
  EXPECT_EQ(policy.settle(kH200).given, given.entries);
  expect_error(ErrorCode::kDevice, "NVIDIA H100", [&] { policy.settle({"NVIDIA H100", 132, 9}); });
  expect_error(ErrorCode::kDevice, "114", [&] { policy.settle({"NVIDIA H200", 114, 9}); });
  policy.give({given}, true);  // the same again
  policy.require_deterministic(true);
  EXPECT_EQ(policy.kind(), Kind::kGiven);
  expect_error(ErrorCode::kUsage, "other choices", [&] { policy.give({}, true); });
}

TEST(GivenGemms, KeepEveryRow) {
  const GivenRow other{"sm90_bf16_128x128_kk", {8192, 8192, 512, 1}, 1, 4};
  const GivenGemms given = check_given(kMenu, kH200, {kRow, other});
  ASSERT_EQ(given.entries.size(), 2u);
  EXPECT_EQ(given.entries[0].choice, (GemmChoice{&kRows[1], 4, 1}));
  EXPECT_EQ(given.entries[1].choice, (GemmChoice{&kRows[0], 1, 4}));
  EXPECT_EQ(given.entries[1].key, gemm_key(kRows[0].kind(), {8192, 8192, 512, 1}));
}

TEST(GivenGemms, RefuseWhatThisBuildWouldNotChoose) {
  const auto refused = [](GivenRow row, const char* part) {
    expect_error(ErrorCode::kCheckpoint, part, [&] { check_given(kMenu, kH200, {kRow, row}); });
    expect_error(ErrorCode::kCheckpoint, "choice 2 ",
                 [&] { check_given(kMenu, kH200, {kRow, row}); });
  };
  const GemmSizes s{128, 128, 4096, 1};
  refused({"sm90_gone", s, 1, 1}, "no such kernel");
  refused({"", s, 1, 1}, "no such kernel");
  refused({std::string(10000, 'x'), s, 1, 1}, "no such kernel");
  refused({"sm100_bf16_128x64_kk", s, 1, 1}, "never multiplies");
  refused({"sm90_bf16_128x128_kk", s, 4, 1}, "never multiplies");
  refused({"sm90_bf16_64x128_kk", s, 3, 1}, "never multiplies");
  refused({"sm90_bf16_64x128_kk", s, -1, 1}, "never multiplies");
  refused({"sm90_bf16_64x128_kk", s, 1, 1 << 30}, "never multiplies");
  refused({"sm90_bf16_64x128_kk", {0, 128, 64, 1}, 1, 1}, "at least 1");
  refused({"sm90_bf16_64x128_kk", {128, 128, -4, 1}, 1, 1}, "at least 1");
  refused({"sm90_bf16_64x128_kk", {128, 128, 8192, 1}, 1, 1}, "earlier line");
}

}  // namespace
}  // namespace weft
