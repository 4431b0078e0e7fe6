// choose_gemm: the choices made so far and how a new one is made. A thread's own table answers on
// the hot path; behind it stands one table a device model, under a mutex, which begins with what
// the file of choices (gemm_choice_file.h) remembers.
#include "cuda/gemm_choice.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>

#include "cuda/gemm_choice_file.h"
#include "cuda/gemm_timing.h"
#include "fabric/allocator.h"
#include "fabric/cuda_launch.h"

namespace weft::cuda {
namespace {

constexpr double kWarmBytes = 2e6;  // operands and result that a cache may well hold

uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdu;
}

struct KeyHash {
  size_t operator()(const GemmKey& key) const {
    uint64_t h = mix(0, static_cast<uint64_t>(key.m) << 32 | static_cast<uint32_t>(key.n));
    h = mix(h, static_cast<uint64_t>(key.k) << 32 | static_cast<uint32_t>(key.batch));
    return mix(h, key.kind) ^ h >> 29;
  }
};

uint32_t pack(const GemmKind& kind) {
  return static_cast<uint32_t>(kind.dtype) | static_cast<uint32_t>(kind.layout) << 8 |
         static_cast<uint32_t>(kind.epilogue) << 16;
}

bool may_measure(const GemmProblem& p, cudaStream_t stream) {
  static const bool wanted = [] {
    const char* value = std::getenv("WEFT_GEMM_TUNE");
    return value == nullptr || std::strcmp(value, "0") != 0;
  }();
  if (!wanted || p.beta != 0) return false;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) == cudaSuccess &&
         status == cudaStreamCaptureStatusNone;
}

/// Overwrites the cache on the way: a product larger than it meets cold operands in a step, and
/// the order of its tiles decides how often they are read again. Empty when there is no memory.
class CacheFlush {
 public:
  explicit CacheFlush(Stream& stream) : stream_(stream) {
    try {
      block_ = stream.device().allocator().allocate(kBytes, stream);
    } catch (const fabric::Error&) {  // then the choice is made with a warm cache
    }
  }
  ~CacheFlush() {
    if (block_ != nullptr) stream_.device().allocator().free(block_);
  }
  CacheFlush(const CacheFlush&) = delete;
  CacheFlush& operator=(const CacheFlush&) = delete;
  std::function<void()> run() const {
    if (block_ == nullptr) return nullptr;
    return [this] {
      Device& device = stream_.device();
      device.driver().fill(block_->ptr, device.ordinal(), 0, kBytes, stream_.handle());
    };
  }

 private:
  static constexpr size_t kBytes = size_t{192} << 20;  // more than any L2 so far
  Stream& stream_;
  fabric::Block* block_ = nullptr;
};

/// beta is 0, so C may be written again and again; the last run leaves what the caller wants.
GemmChoice measure(const GemmKind& kind, const GemmProblem& p, Stream& stream) {
  GemmCandidates candidates = gemm_candidates(kind, p, stream.device());
  if (candidates.count == 0) return {};
  if (candidates.count == 1) return candidates.at[0];
  std::vector<std::function<void()>> runs;
  for (int i = 0; i < candidates.count; ++i) {
    const GemmChoice choice = candidates.at[i];
    runs.emplace_back([choice, &p, &stream] { launch_gemm(choice, p, stream); });
  }
  // About 0.3 ms a candidate at 400 TFLOP/s.
  const double ms = 2.0 * p.m * p.n * p.k * p.batch / 400e9;
  const int repeats = ms > 0.15 ? 2 : ms > 0.015 ? 8 : 16;
  const double elements = double(p.m) * p.k + double(p.k) * p.n + double(p.m) * p.n;
  const double bytes = elements * p.batch * static_cast<double>(dtype_bytes(kind.dtype));
  std::vector<double> taken;
  if (bytes > kWarmBytes) {
    const CacheFlush flush(stream);
    taken = time_in_turn(runs, 1, 11, stream, flush.run());
  } else {
    taken = time_in_turn(runs, repeats, 5, stream);
  }
  if (taken.empty()) return estimate_gemm(kind, p, stream.device());
  size_t best = 0;
  for (size_t i = 1; i < taken.size(); ++i)
    if (taken[i] < taken[best]) best = i;
  return candidates.at[best];
}

/// The choices of one device model.
class ModelChoices {
 public:
  explicit ModelChoices(const fabric::DeviceProperties& device) : file_(device.model) {
    for (const auto& [key, choice] : file_.read()) table_.emplace(key, choice);
  }

  GemmChoice find(const GemmKey& key, const GemmKind& kind, const GemmProblem& p, Stream& stream,
                  bool* settled) {
    *settled = true;
    std::lock_guard lock(mutex_);
    if (auto it = table_.find(key); it != table_.end()) return it->second;
    if (!may_measure(p, static_cast<cudaStream_t>(stream.handle()))) {
      *settled = false;  // a later ask may measure
      return estimate_gemm(kind, p, stream.device());
    }
    const GemmChoice choice = measure(kind, p, stream);
    table_.emplace(key, choice);
    if (choice.kernel) file_.append(key, choice);
    return choice;
  }

 private:
  std::mutex mutex_;  // held while measuring: two shapes timed at once would disturb each other
  std::unordered_map<GemmKey, GemmChoice, KeyHash> table_;
  GemmChoiceFile file_;
};

ModelChoices& choices_of(const Device& device) {
  static std::mutex mutex;
  // Never destroyed: worker threads may still multiply while the process ends.
  static auto* models = new std::map<std::string, ModelChoices*>;
  std::lock_guard lock(mutex);
  ModelChoices*& entry = (*models)[device.properties().model];
  if (entry == nullptr) entry = new ModelChoices(device.properties());
  return *entry;
}

struct Recent {
  GemmKey key{};
  const Device* device = nullptr;
  GemmChoice choice;
};
constexpr size_t kRecent = 512;  // direct-mapped; a step has some dozens of shapes

}  // namespace

GemmChoice choose_gemm(const GemmKind& kind, const GemmProblem& p, Stream& stream) {
  static thread_local Recent recent[kRecent];
  const Device& device = stream.device();
  const GemmKey key{p.m, p.n, p.k, p.batch, pack(kind)};
  Recent& slot = recent[KeyHash{}(key) % kRecent];
  if (slot.device == &device && slot.key == key) [[likely]]
    return slot.choice;
  bool settled;
  const GemmChoice choice = choices_of(device).find(key, kind, p, stream, &settled);
  if (settled) slot = {key, &device, choice};
  return choice;
}

}  // namespace weft::cuda
