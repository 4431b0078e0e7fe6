// GemmBook and the process's books: see book.h.
#include "gemm/book.h"

#include <utility>

namespace weft {
namespace {

uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdu;
}

struct Books {
  std::mutex mutex;
  std::vector<std::unique_ptr<GemmBook>> list;
};

Books& books() {
  static auto* all = new Books;  // worker threads may still multiply while the process ends
  return *all;
}

}  // namespace

size_t GemmKeyHash::operator()(const GemmKey& key) const {
  uint64_t h = mix(0, static_cast<uint64_t>(key.m) << 32 | static_cast<uint32_t>(key.n));
  h = mix(h, static_cast<uint64_t>(key.k) << 32 | static_cast<uint32_t>(key.batch));
  return mix(h, key.kind) ^ h >> 29;
}

GemmBook::GemmBook(GemmGpu gpu, GemmMenu menu, GemmPolicy::Settled policy, GemmChoiceFile file)
    : gpu_(std::move(gpu)), menu_(menu), policy_(policy.kind), file_(std::move(file)) {
  const bool measured = policy_ == GemmPolicyKind::kMeasured;
  for (const GemmEntry& entry : measured ? file_.read(menu_) : policy.given)
    known_.insert_or_assign(entry.key, entry.choice);
}

GemmChoice GemmBook::choose(const GemmKind& kind, const GemmSizes& sizes, const Measure& measure) {
  const GemmKey key = gemm_key(kind, sizes);
  std::lock_guard lock(mutex_);
  if (auto it = used_.find(key); it != used_.end()) return it->second;
  const GemmCandidates candidates = gemm_candidates(menu_, kind, sizes, gpu_);
  const GemmChoice choice = decide(key, candidates, sizes, measure);
  used_.emplace(key, choice);
  return choice;
}

GemmChoice GemmBook::decide(const GemmKey& key, const GemmCandidates& candidates,
                            const GemmSizes& sizes, const Measure& measure) {
  if (auto it = known_.find(key); it != known_.end() && candidates.hold(it->second))
    return it->second;
  if (candidates.count == 0) return {};
  if (policy_ == GemmPolicyKind::kMeasured) {
    if (const std::optional<GemmChoice> fastest = measure(candidates)) {
      file_.append(menu_, {key, *fastest});
      return *fastest;
    }
  }
  return estimate_gemm(candidates, sizes, gpu_);
}

std::vector<GemmEntry> GemmBook::used() const {
  std::lock_guard lock(mutex_);
  std::vector<GemmEntry> out;
  for (const auto& [key, choice] : used_)
    if (choice.kernel != nullptr) out.push_back({key, choice});
  return out;
}

GemmBook& gemm_book(const GemmGpu& gpu) {
  Books& all = books();
  std::lock_guard lock(all.mutex);
  for (const auto& book : all.list)
    if (book->gpu() == gpu) return *book;
  GemmPolicy::Settled policy = gemm_policy().settle(gpu);
  all.list.push_back(std::make_unique<GemmBook>(gpu, gemm_menu(), std::move(policy),
                                                GemmChoiceFile::of_model(gpu.model)));
  return *all.list.back();
}

std::vector<const GemmBook*> gemm_books() {
  Books& all = books();
  std::lock_guard lock(all.mutex);
  std::vector<const GemmBook*> out;
  for (const auto& book : all.list) out.push_back(book.get());
  return out;
}

}  // namespace weft
