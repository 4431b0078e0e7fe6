// GemmPolicy: see policy.h.
#include "gemm/policy.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>
#include <utility>

#include "fabric/error.h"
#include "gemm/candidates.h"

namespace weft {
namespace {

using fabric::ErrorCode;
using fabric::fail;

GemmPolicyKind kind_from(const char* value) {
  const std::string_view text = value ? value : "";
  if (text == "1") return GemmPolicyKind::kEstimated;
  if (text.empty() || text == "0") return GemmPolicyKind::kMeasured;
  fail(ErrorCode::kUsage, "WEFT_DETERMINISTIC is '%.40s': set it to 1 or 0", value);
}

std::string models_of(const std::vector<GivenGemms>& given) {
  std::string out;
  for (const GivenGemms& each : given)
    out += (out.empty() ? "" : ", ") + each.gpu.model + " with " +
           std::to_string(each.gpu.multiprocessors) + " multiprocessors";
  return out;
}

}  // namespace

const char* gemm_policy_name(GemmPolicyKind kind) {
  switch (kind) {
    case GemmPolicyKind::kEstimated:
      return "estimated";
    case GemmPolicyKind::kGiven:
      return "given";
    default:
      return "measured";
  }
}

GivenGemms check_given(GemmMenu menu, const GemmGpu& gpu, const std::vector<GivenRow>& rows) {
  GivenGemms out{gpu, {}};
  std::set<GemmKey> seen;
  for (size_t i = 0; i < rows.size(); ++i) {
    const GivenRow& row = rows[i];
    const auto refuse = [&](const char* why) {
      const GemmSizes& s = row.sizes;
      fail(ErrorCode::kCheckpoint, "choice %zu (%.63s for %dx%dx%d, batch %d): %s", i + 1,
           row.kernel.c_str(), s.m, s.n, s.k, s.batch, why);
    };
    const GemmRow* kernel = find_gemm_row(menu, row.kernel);
    if (kernel == nullptr) refuse("this build has no such kernel");
    const GemmSizes& s = row.sizes;
    if (s.m < 1 || s.n < 1 || s.k < 1 || s.batch < 1) refuse("sizes are at least 1");
    const GemmChoice choice{kernel, row.splits, row.swizzle};
    if (!gemm_candidates(menu, kernel->kind(), s, gpu).hold(choice))
      refuse("weft never multiplies this product so on this GPU; the file was changed");
    const GemmKey key = gemm_key(kernel->kind(), s);
    if (!seen.insert(key).second) refuse("an earlier line chooses for the same product");
    out.entries.push_back({key, choice});
  }
  return out;
}

GemmPolicy::GemmPolicy(const char* value) : start_(kind_from(value)), kind_(start_) {}

GemmPolicyKind GemmPolicy::kind() const {
  std::lock_guard lock(mutex_);
  return kind_;
}

void GemmPolicy::require_deterministic(bool gpu_open) {
  std::lock_guard lock(mutex_);
  if (kind_ != GemmPolicyKind::kMeasured) return;
  if (settled_ || gpu_open)
    fail(ErrorCode::kUsage,
         "deterministic: true comes too late: this process opened a GPU without it, and products "
         "there may have been chosen by measurement. Ask for it before anything opens a GPU, or "
         "set WEFT_DETERMINISTIC=1");
  kind_ = GemmPolicyKind::kEstimated;
}

void GemmPolicy::give(std::vector<GivenGemms> given, bool gpu_open) {
  std::lock_guard lock(mutex_);
  if (kind_ == GemmPolicyKind::kGiven && given == given_) return;
  if (settled_ || gpu_open)
    fail(ErrorCode::kUsage,
         "GEMM choices come too late: this process opened a GPU %s. Give them before anything "
         "opens a GPU, or set WEFT_GEMM_CHOICES",
         kind_ == GemmPolicyKind::kGiven ? "with other choices" : "without them");
  kind_ = GemmPolicyKind::kGiven;
  given_ = std::move(given);
}

void GemmPolicy::reset(bool gpu_open) {
  std::lock_guard lock(mutex_);
  if (settled_ || gpu_open) return;
  kind_ = start_;
  given_.clear();
}

GemmPolicy::Settled GemmPolicy::settle(const GemmGpu& gpu) {
  std::lock_guard lock(mutex_);
  settled_ = true;
  if (kind_ != GemmPolicyKind::kGiven) return {kind_, {}};
  const auto found = std::find_if(given_.begin(), given_.end(),
                                  [&](const GivenGemms& each) { return each.gpu == gpu; });
  if (found == given_.end())
    fail(ErrorCode::kDevice, "the GEMM choices given are of %s; this GPU is %s with %d",
         models_of(given_).c_str(), gpu.model.c_str(), gpu.multiprocessors);
  return {kind_, found->entries};
}

GemmPolicy& gemm_policy() {
  // Never destroyed: worker threads may still multiply while the process ends.
  static auto* policy = new GemmPolicy(std::getenv("WEFT_DETERMINISTIC"));
  return *policy;
}

}  // namespace weft
