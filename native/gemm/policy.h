// How this process chooses GEMM kernels: by measurement (the default), by the estimate alone, or by
// choices that another run made. One for the process; openFabric() sets it through the binding.
//
// It may change until something depends on it: book.cc settles it when a GPU's first product is
// chosen, and callers say whether a GPU is open. One mutex guards it, so a choice sees the policy
// whole, before or after a change.
#pragma once

#include <mutex>
#include <vector>

#include "gemm/menu.h"

namespace weft {

enum class GemmPolicyKind : uint8_t {
  kMeasured = 0,   ///< first use measures; a file remembers
  kEstimated = 1,  ///< the estimate alone: deterministic
  kGiven = 2,      ///< as given, the estimate for other shapes: deterministic too
};
const char* gemm_policy_name(GemmPolicyKind kind);  ///< "measured", "estimated", "given"

/// The choices given for one GPU model.
struct GivenGemms {
  GemmGpu gpu;
  std::vector<GemmEntry> entries;
  bool operator==(const GivenGemms&) const = default;
};

/// A row of a file of choices before it is checked.
struct GivenRow {
  std::string kernel;
  GemmSizes sizes;
  int splits, swizzle;
};

/// Rows for one GPU as entries. Throws Error(kCheckpoint) naming the row (from 1) that this build
/// would not choose from on that GPU, or that names a product again.
GivenGemms check_given(GemmMenu menu, const GemmGpu& gpu, const std::vector<GivenRow>& rows);

class GemmPolicy {
 public:
  /// `value` is WEFT_DETERMINISTIC: "1" begins with the estimate, nullptr, "" and "0" with
  /// measurement; throws Error(kUsage) for anything else.
  explicit GemmPolicy(const char* value);

  GemmPolicyKind kind() const;
  /// From now on no choice is measured. No change when that holds already; throws Error(kUsage)
  /// when it is too late.
  void require_deterministic(bool gpu_open);
  /// As above with choices; giving the same again changes nothing.
  void give(std::vector<GivenGemms> given, bool gpu_open);
  /// As at the start, unless it is too late: for an opening that failed.
  void reset(bool gpu_open);

  struct Settled {
    GemmPolicyKind kind;
    std::vector<GemmEntry> given;
  };
  /// What holds for `gpu`; nothing changes any more. Throws Error(kDevice) when choices were given
  /// and none of them for this model.
  Settled settle(const GemmGpu& gpu);

 private:
  mutable std::mutex mutex_;
  const GemmPolicyKind start_;
  GemmPolicyKind kind_;
  std::vector<GivenGemms> given_;
  bool settled_ = false;
};

/// The process's policy. Throws as its constructor does while WEFT_DETERMINISTIC is wrong.
GemmPolicy& gemm_policy();

}  // namespace weft
