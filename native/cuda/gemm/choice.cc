// choose_gemm: a thread's own table answers on the hot path; behind it stands the book of the
// device's model (gemm/book.h), which asks back here when its policy measures.
#include "cuda/gemm/choice.h"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>

#include "cuda/gemm/timing.h"
#include "fabric/allocator.h"
#include "fabric/cuda_launch.h"
#include "gemm/book.h"

namespace weft::cuda {
namespace {

constexpr double kWarmBytes = 2e6;  // operands and result that a cache may well hold

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
/// nullopt: no times came.
std::optional<GemmChoice> fastest(const GemmCandidates& candidates, DType dtype,
                                  const GemmProblem& p, Stream& stream) {
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
  const double bytes = elements * p.batch * static_cast<double>(dtype_bytes(dtype));
  std::vector<double> taken;
  if (bytes > kWarmBytes) {
    const CacheFlush flush(stream);
    taken = time_in_turn(runs, 1, 11, stream, flush.run());
  } else {
    taken = time_in_turn(runs, repeats, 5, stream);
  }
  if (taken.empty()) return std::nullopt;
  size_t best = 0;
  for (size_t i = 1; i < taken.size(); ++i)
    if (taken[i] < taken[best]) best = i;
  return candidates.at[best];
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
  const GemmKey key = gemm_key(kind, sizes_of(p));
  Recent& slot = recent[GemmKeyHash{}(key) % kRecent];
  if (slot.device == &device && slot.key == key) [[likely]]
    return slot.choice;
  GemmBook& book = gemm_book(gemm_gpu(device.properties()));
  const GemmChoice choice = book.choose(
      kind, sizes_of(p), [&](const GemmCandidates& candidates) -> std::optional<GemmChoice> {
        if (!may_measure(p, static_cast<cudaStream_t>(stream.handle()))) return std::nullopt;
        return fastest(candidates, kind.dtype, p, stream);
      });
  slot = {key, &device, choice};
  return choice;
}

}  // namespace weft::cuda
