// The choices that this process made for one GPU model: what a product gets, and what was used.
// native/cuda/gemm/choice.cc asks once a thread and shape and brings the measurement; the binding
// reads what was used.
//
// One mutex a book, held while measuring: two shapes timed at once would disturb each other. What a
// product got first it gets for the life of the process, so that eager and captured steps agree.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "gemm/candidates.h"
#include "gemm/choice_file.h"
#include "gemm/policy.h"

namespace weft {

struct GemmKeyHash {
  size_t operator()(const GemmKey& key) const;
};

class GemmBook {
 public:
  /// Times the candidates and returns the fastest; nullopt when it may not measure now.
  using Measure = std::function<std::optional<GemmChoice>(const GemmCandidates&)>;

  /// `file` remembers over processes under kMeasured and is not touched under the others.
  GemmBook(GemmGpu gpu, GemmMenu menu, GemmPolicy::Settled policy, GemmChoiceFile file);

  GemmChoice choose(const GemmKind& kind, const GemmSizes& sizes, const Measure& measure);

  const GemmGpu& gpu() const { return gpu_; }
  /// What choose() answered so far, in the order of shapes.
  std::vector<GemmEntry> used() const;

 private:
  GemmChoice decide(const GemmKey& key, const GemmCandidates& candidates, const GemmSizes& sizes,
                    const Measure& measure);

  const GemmGpu gpu_;
  const GemmMenu menu_;
  const GemmPolicyKind policy_;
  const GemmChoiceFile file_;
  mutable std::mutex mutex_;
  std::unordered_map<GemmKey, GemmChoice, GemmKeyHash> known_;  // of the file, or given
  std::map<GemmKey, GemmChoice> used_;
};

/// The book of a GPU model, made on first use by the process's policy and menu; settles the policy.
GemmBook& gemm_book(const GemmGpu& gpu);
/// All books made so far. They are never destroyed.
std::vector<const GemmBook*> gemm_books();

}  // namespace weft
