// The entry points of attention on CUDA devices: which kernels take a call, and the scratch that
// the backward pass needs. Called through the kernel table.
#include "cuda/attention/attention.h"
#include "cuda/attention/sm90/tensor_map.h"
#include "cuda/gemm/gemm.h"
#include "fabric/allocator.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

constexpr int64_t kWidest = 128;  // of the tensor-core kernels
// Of Hopper's, by pass (H200, 64 x 8 heads of 128 x 32: forward 17.7 us where the others take 14.0, backward 43.3
// where they take 53.5).
constexpr int64_t kNarrowestForward = 33, kNarrowestBackward = 17;
bool wants_sm90 = true, wants_whole_head = true;
// Of the kernels that take a head whole (whole_head/).
constexpr int64_t kWholeHeadWidth = 32, kWholeHeadLength = 128;

bool on_tensor_cores(const AttentionArgs& args) {
  if (args.width > kWidest) return false;
  return is_half(args.dtype) || (args.dtype == DType::kF32 && tf32());
}

/// Kernels that take a head whole.
bool on_whole_head(const AttentionArgs& args, int64_t longest = kWholeHeadLength) {
  return wants_whole_head && on_tensor_cores(args) && args.width <= kWholeHeadWidth &&
         args.q_len > 0 && args.q_len <= longest && args.kv_len > 0 && args.kv_len <= longest &&
         args.scale > 0 && args.batch * args.heads <= INT32_MAX &&
         (args.grad_k == nullptr) == (args.grad_v == nullptr);
}

/// Hopper's kernels, for widths from `narrowest`: narrow heads leave half of their tiles empty.
bool on_sm90(const AttentionLaunch& launch, const Stream& stream, int64_t narrowest) {
#ifdef WEFT_ATTENTION_SM90
  using attention::sm90::mappable;
  const AttentionArgs& args = launch.args;
  const auto& device = stream.device().properties();
  if (!wants_sm90 || device.capability_major != 9 || device.capability_minor != 0) return false;
  if (!is_half(args.dtype) || args.width < narrowest || args.width > kWidest) return false;
  if (!launch.aligned || !(args.scale > 0) || args.q_len == 0 || args.kv_len == 0) return false;
  if (args.q_len > INT32_MAX / 2 || args.kv_len > INT32_MAX / 2) return false;
  bool fits = mappable(args, args.q_stride) && mappable(args, args.k_stride) &&
              mappable(args, args.v_stride) && mappable(args, args.out_stride);
  if (args.grad_out) fits = fits && mappable(args, args.grad_out_stride);
  if (args.grad_q) fits = fits && mappable(args, args.grad_q_stride);
  if (args.grad_k) fits = fits && mappable(args, args.grad_k_stride);
  if (args.grad_v) fits = fits && mappable(args, args.grad_v_stride);
  return fits && (args.grad_k == nullptr) == (args.grad_v == nullptr);
#else
  return false;
#endif
}

bool rows_aligned(const void* base, const int64_t (&stride)[3], const AttentionArgs& args) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(args.dtype));
  bool aligned = reinterpret_cast<uintptr_t>(base) % 16 == 0 && args.width * bytes % 16 == 0;
  const int64_t sizes[3] = {args.batch, args.heads, 2};
  for (int d = 0; d < 3; ++d) aligned = aligned && (sizes[d] == 1 || stride[d] * bytes % 16 == 0);
  return aligned;
}

AttentionLaunch launch_of(const AttentionArgs& args, Stream& stream) {
  if (!is_floating(args.dtype))
    fail(ErrorCode::kDtype, "attention: dtype %s is not supported", dtype_name(args.dtype));
  const fabric::Device& device = stream.device();
  AttentionLaunch launch{args,
                         nullptr,
                         nullptr,
                         false,
                         nullptr,
                         device.ordinal(),
                         device.properties().multiprocessors};
  launch.stream = static_cast<cudaStream_t>(stream.handle());
  launch.aligned =
      rows_aligned(args.q, args.q_stride, args) && rows_aligned(args.k, args.k_stride, args) &&
      rows_aligned(args.v, args.v_stride, args) && rows_aligned(args.out, args.out_stride, args);
  // A block's number is 32 bits wide, the plain kernels' blocks take 4 rows.
  const int64_t length = args.q_len > args.kv_len ? args.q_len : args.kv_len;
  const int64_t rows = args.batch * args.heads * length;
  if (rows / 4 >= INT32_MAX)
    fail(ErrorCode::kShape, "attention: %lld rows over all heads are too many for one launch",
         (long long)rows);
  fabric::cuda::use_device(launch.ordinal);
  return launch;
}

// Freed at once: the allocator hands it only to later work of the same stream.
class Scratch {
 public:
  Scratch(size_t bytes, Stream& stream)
      : allocator_(stream.device().allocator()), block_(allocator_.allocate(bytes, stream)) {}
  ~Scratch() { allocator_.free(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* get() const { return block_->ptr; }

 private:
  fabric::Allocator& allocator_;
  fabric::Block* block_;
};

}  // namespace

void use_sm90_attention(bool on) { wants_sm90 = on; }
void use_whole_head_attention(bool on) { wants_whole_head = on; }

void attention_forward(const AttentionArgs& args, Stream& stream) {
  if (args.batch * args.heads * args.q_len == 0) return;
  const AttentionLaunch launch = launch_of(args, stream);
  // All scores of a warp are in registers: longer ones in f32 do not pay (H200, 64 x 8 heads of 128 x 32: 30.0 us,
  // in tiles 26.6).
  if (on_whole_head(args, is_half(args.dtype) ? kWholeHeadLength : 96)) {
    if (args.dtype == DType::kBF16) return attention_whole_forward_bf16(launch);
    if (args.dtype == DType::kF16) return attention_whole_forward_f16(launch);
    return attention_whole_forward_tf32(launch);
  }
#ifdef WEFT_ATTENTION_SM90
  if (on_sm90(launch, stream, kNarrowestForward)) {
    if (args.dtype == DType::kBF16) return attention_forward_sm90_bf16(launch);
    return attention_forward_sm90_f16(launch);
  }
#endif
  if (!on_tensor_cores(args)) return attention_forward_simt(launch);
  if (args.dtype == DType::kBF16) return attention_forward_bf16(launch);
  if (args.dtype == DType::kF16) return attention_forward_f16(launch);
  attention_forward_tf32(launch);
}

void attention_backward(const AttentionArgs& args, Stream& stream) {
  const int64_t rows = args.batch * args.heads * args.q_len;
  if (args.batch * args.heads == 0 || (rows == 0 && args.kv_len == 0)) return;
  AttentionLaunch launch = launch_of(args, stream);
  launch.aligned = launch.aligned && rows_aligned(args.grad_out, args.grad_out_stride, args);
  if (args.grad_q) launch.aligned &= rows_aligned(args.grad_q, args.grad_q_stride, args);
  if (args.grad_k) launch.aligned &= rows_aligned(args.grad_k, args.grad_k_stride, args);
  if (args.grad_v) launch.aligned &= rows_aligned(args.grad_v, args.grad_v_stride, args);
  if (on_whole_head(args)) {
    if (args.dtype == DType::kBF16) return attention_whole_backward_bf16(launch);
    if (args.dtype == DType::kF16) return attention_whole_backward_f16(launch);
    return attention_whole_backward_tf32(launch);
  }
#ifdef WEFT_ATTENTION_SM90
  if (on_sm90(launch, stream, kNarrowestBackward)) {
    constexpr int64_t kQueries = AttentionSummary::kQueries;
    const int64_t blocks = (args.q_len + kQueries - 1) / kQueries * args.batch * args.heads;
    const Scratch stats(static_cast<size_t>(blocks) * sizeof(AttentionSummary), stream);
    launch.stats = stats.get();
    if (args.dtype == DType::kBF16) return attention_backward_sm90_bf16(launch);
    return attention_backward_sm90_f16(launch);
  }
#endif
  if (!on_tensor_cores(args)) {
    const size_t each = args.dtype == DType::kF64 ? sizeof(double) : sizeof(float);
    const Scratch stats(2 * static_cast<size_t>(rows) * each, stream);
    launch.stats = stats.get();
    return attention_backward_simt(launch);
  }
  const Scratch delta(static_cast<size_t>(rows) * sizeof(float), stream);
  launch.delta = static_cast<float*>(delta.get());
  if (args.dtype == DType::kBF16) return attention_backward_bf16(launch);
  if (args.dtype == DType::kF16) return attention_backward_f16(launch);
  attention_backward_tf32(launch);
}

}  // namespace weft::cuda
