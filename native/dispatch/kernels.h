// The kernel table: what a driver must be able to compute. Operators (native/ops) check, allocate
// and call through the table of the tensor's driver; native/cpu fills the host's, native/cuda
// CUDA's.
//
// Rules for every kernel: it enqueues on `stream` and returns; arguments are copied, never kept by
// address; outputs are written fully; no floating-point atomics (same inputs, same bits, whatever
// the thread count); f16 and bf16 are computed and accumulated in f32; element counts may be 0
// (then it does nothing) and may exceed 2^31. A nullptr entry is an operator that the driver lacks:
// the caller throws DeviceError.
#pragma once

#include <cstdint>

#include "dispatch/elementwise_ops.h"
#include "fabric/device.h"
#include "iter/tensor_iterator.h"

namespace weft {

enum class ReduceKind : uint8_t { kSum, kMean, kMax, kMin, kArgMax, kVar, kSumSquares };
enum class Reduction : uint8_t { kNone = 0, kMean = 1, kSum = 2 };
enum class Activation : uint8_t { kNone = 0, kGelu = 1 };

struct ElementParams {
  double p0 = 0;
  double p1 = 0;
};

/// out[kept] = reduce over the reduced dimensions of in. Dimension 0 is the fastest; both lists are
/// merged where possible; `out` is contiguous over the kept dimensions. kMax and kMin pass NaN on;
/// kArgMax writes i64, the first of equals; kVar divides by (n - correction).
struct ReduceArgs {
  ReduceKind kind;
  const void* in;
  void* out;
  DType in_dtype;
  DType out_dtype;
  int kept_dims = 0;
  int64_t kept_shape[kMaxDims] = {};
  int64_t kept_strides[kMaxDims] = {};  ///< of in, in elements
  int reduced_dims = 0;
  int64_t reduced_shape[kMaxDims] = {};
  int64_t reduced_strides[kMaxDims] = {};  ///< of in, in elements
  int64_t kept_count = 1;
  int64_t reduced_count = 1;
  double correction = 0;
};

/// C (m,n) = act(alpha * op(A) (m,k) · op(B) (k,n) + bias (n)) + beta * C, for each batch.
/// Row-major memory: A is stored (m,k) with row stride lda, or (k,m) when a_transposed; B likewise
/// (k,n) or (n,k). C is row-major with row stride ldc. Batch strides in elements, 0 where
/// broadcast; dimension 0 fastest.
struct GemmArgs {
  DType dtype;
  int64_t m, n, k;
  const void* a;
  const void* b;
  void* c;
  int64_t lda, ldb, ldc;
  bool a_transposed = false, b_transposed = false;
  double alpha = 1, beta = 0;
  const void* bias = nullptr;  ///< (n,) of dtype, or nullptr
  Activation activation = Activation::kNone;
  void* pre_activation = nullptr;  ///< (m,n) like C: values before the activation, for its gradient
  int batch_dims = 0;
  int64_t batch_shape[kMaxDims] = {};
  int64_t a_batch[kMaxDims] = {}, b_batch[kMaxDims] = {}, c_batch[kMaxDims] = {};
};

/// Rows of a contiguous (rows, cols) matrix.
struct SoftmaxArgs {
  DType dtype;
  const void* in;   ///< forward: x. backward: grad of out
  const void* aux;  ///< backward: out of the forward
  void* out;        ///< forward: y. backward: grad of x
  int64_t rows, cols;
  bool log;
};

/// logits (rows, cols) contiguous, targets (rows,) i64. loss and lse are f32; loss is (rows,) for
/// kNone, else one value: mean over rows whose target is not ignore_index (0 rows: NaN), or sum.
/// For kNone and kSum the forward pass writes grad_logits too where it is given, with grad_loss, or 1 where that is
/// nullptr; it may be the logits.
struct CrossEntropyArgs {
  DType dtype;
  const void* logits;
  const int64_t* targets;
  float* loss;
  float* lse;                        ///< (rows,) log-sum-exp, kept for backward
  float* count;                      ///< one value: rows that count
  const float* grad_loss = nullptr;  ///< backward: (rows,) for kNone, else one value
  void* grad_logits = nullptr;       ///< backward: (rows, cols) of dtype
  int64_t rows, cols;
  int64_t ignore_index;
  double label_smoothing = 0;
  Reduction reduction;
  uint16_t device;  ///< for note_index_error
};

/// x, y (rows, cols) contiguous; weight, bias (cols,) or nullptr; mean, rstd (rows,) f32 (mean
/// nullptr: root-mean-square norm). y and grad_y are of `y_dtype`: that of all others, or f16 or
/// bf16 beside f32. Backward writes those of grad_x, grad_weight, grad_bias that
/// are not nullptr.
/// With `residual` (of dtype) the forward pass takes x of `branch_dtype`, writes sum = residual + x (of dtype) and
/// norms that. Backward is then given the sum as x: grad_x, and grad_branch of `branch_dtype`, are gradients of the
/// sum, to which grad_sum (of dtype, or nullptr) is added. branch_dtype is dtype, or y_dtype where that differs.
struct NormArgs {
  DType dtype;
  DType y_dtype;
  const void* x;
  const void* weight;
  const void* bias;
  void* y;
  float* mean;
  float* rstd;
  const void* grad_y = nullptr;
  void* grad_x = nullptr;
  void* grad_weight = nullptr;
  void* grad_bias = nullptr;
  int64_t rows, cols;
  double eps;
  DType branch_dtype = DType::kF32;
  const void* residual = nullptr;
  void* sum = nullptr;
  const void* grad_sum = nullptr;
  void* grad_branch = nullptr;
};

/// weight (vocabulary, width), indices (count,) i64, out (count, width): all contiguous. Backward:
/// grad_weight is written fully (zeros where no index points), summed in index order.
struct EmbeddingArgs {
  DType dtype;
  const void* weight;
  const int64_t* indices;
  void* out;
  const void* grad_out = nullptr;
  void* grad_weight = nullptr;
  int64_t count, width, vocabulary;
  uint16_t device;
};

/// out[i][j][k] = in[i][index[i][j][k]][k]: in (outer, bound, inner), index and out (outer, count,
/// inner), all contiguous. Backward: grad_in written fully; equal indices are summed in order.
struct GatherArgs {
  DType dtype;
  const void* in;
  const int64_t* index;
  void* out;
  const void* grad_out = nullptr;
  void* grad_in = nullptr;
  int64_t outer, bound, count, inner;
  uint16_t device;
};

/// q (batch, heads, q_len, width), k and v (batch, heads, kv_len, width); strides in elements for
/// the first three dimensions, the last is 1. lse (batch, heads, q_len) f32 contiguous. Causal:
/// query i sees keys up to i + kv_len - q_len. out and the gradients have strides of their own,
/// given likewise.
struct AttentionArgs {
  DType dtype;
  const void *q, *k, *v;
  void* out;
  float* lse;
  const void* grad_out = nullptr;
  void *grad_q = nullptr, *grad_k = nullptr, *grad_v = nullptr;
  int64_t batch, heads, q_len, kv_len, width;
  int64_t q_stride[3], k_stride[3], v_stride[3], out_stride[3];
  int64_t grad_out_stride[3] = {}, grad_q_stride[3] = {}, grad_k_stride[3] = {},
          grad_v_stride[3] = {};
  double scale;
  bool causal;
};

/// Turns pairs of features (i, i + width/2) of each head by the angle of its position, row number
/// modulo `length`; heads from `turned` on are copied. x and out (rows, heads, width), contiguous;
/// tables (positions, width/2). `inverse` turns back.
struct RotaryArgs {
  DType dtype;
  const void* x;
  void* out;
  const float *cos, *sin;
  int64_t rows = 0, length = 0, heads = 0, turned = 0, width = 0;
  bool inverse = false;
};

/// Philox 4x32-10: element i uses counter offset + i / 4, word i % 4, so numbers depend on (seed,
/// offset, i) alone. See random/philox.h.
struct RandomArgs {
  enum class Kind : uint8_t { kUniform, kNormal, kRandInt, kDropout } kind;
  DType dtype;
  void* out;  ///< contiguous
  int64_t count;
  double p0 = 0, p1 = 1;  ///< uniform low, high; normal mean, std; randint low, high (high
                          ///< excluded); dropout p
  uint64_t seed, offset;
  const void* in = nullptr;  ///< dropout: x, contiguous
  void* mask = nullptr;      ///< dropout: bool (count,), true where kept
  /// Device memory {seed, offset}, read when the work runs: its seed replaces `seed`, its offset is
  /// added to `offset`. nullptr outside captured steps.
  const uint64_t* live = nullptr;
};

/// out[i] = start + i * step.
struct RangeArgs {
  DType dtype;
  void* out;
  int64_t count;
  double start, step;
};

/// One parameter of a fused optimizer step; every pointer contiguous, `count` elements. State is
/// f32.
struct OptimParam {
  void* param;
  const void* grad;
  float* state0;  ///< SGD: momentum buffer or nullptr. AdamW: first moment
  float* state1;  ///< AdamW: second moment
  int64_t count;
  DType dtype;
};
/// What an optimizer's steps know of overflows under loss scaling: two f32 in device memory.
struct SkipRecord {
  float found;    ///< not 0: the gradients are not finite, the step leaves everything as it is
  float skipped;  ///< steps left out so far, this one included
};
/// A loss scale: three f32 in device memory.
struct ScalerState {
  float scale;
  float tracker;  ///< steps without overflow since the scale last changed
  float found;    ///< not 0: an optimizer met an overflow since the last update
};
struct SgdArgs {
  double lr, momentum, weight_decay, dampening;
  bool nesterov;
  bool first_step;  ///< momentum buffers start as the gradient
  /// Device memory {lr}, read when the work runs instead of `lr`. nullptr outside captured steps.
  const double* live = nullptr;
  const SkipRecord* skip = nullptr;  ///< in device memory, or nullptr
};
struct AdamWArgs {
  double lr, beta1, beta2, eps, weight_decay;
  int64_t step;  ///< from 1; with `skip`, skipped steps included
  /// Device memory that holds an AdamWRates, with `skip` {lr, step}, read when the work runs instead
  /// of what lr and step make. nullptr outside captured steps.
  const double* live = nullptr;
  const SkipRecord* skip = nullptr;  ///< in device memory, or nullptr
};
/// What of an AdamW step changes from step to step. One function makes it for every driver, so that
/// a captured step and an eager one give the same bits.
struct AdamWRates {
  double shrink;     ///< 1 - lr * weight_decay
  double step_size;  ///< lr / (1 - beta1^step)
  double unbias;     ///< 1 / sqrt(1 - beta2^step)
};
AdamWRates adamw_rates(const AdamWArgs& args);

/// How a loss scale changes (Micikevicius et al. 2018; torch.amp.GradScaler).
struct AmpUpdateArgs {
  double growth, backoff;
  int64_t interval;  ///< steps without overflow after which the scale grows
};

/// Most words of one KernelTable::store.
inline constexpr int kStoreWords = 64;

using fabric::Stream;

struct KernelTable {
  void (*unary)(UnaryOp op, const TensorIterator& it, ElementParams params, Stream& stream);
  void (*binary)(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream);
  void (*ternary)(TernaryOp op, const TensorIterator& it, Stream& stream);
  /// out = value converted to its dtype.
  void (*fill)(const TensorIterator& out, double value, Stream& stream);
  /// Any dtype to any dtype, any layout; same dtype is a plain copy.
  void (*cast)(const TensorIterator& it, Stream& stream);
  void (*range)(const RangeArgs& args, Stream& stream);
  void (*random)(const RandomArgs& args, Stream& stream);
  void (*reduce)(const ReduceArgs& args, Stream& stream);
  void (*gemm)(const GemmArgs& args, Stream& stream);
  void (*softmax_forward)(const SoftmaxArgs& args, Stream& stream);
  void (*softmax_backward)(const SoftmaxArgs& args, Stream& stream);
  void (*cross_entropy_forward)(const CrossEntropyArgs& args, Stream& stream);
  void (*cross_entropy_backward)(const CrossEntropyArgs& args, Stream& stream);
  void (*norm_forward)(const NormArgs& args, Stream& stream);
  void (*norm_backward)(const NormArgs& args, Stream& stream);
  void (*embedding_forward)(const EmbeddingArgs& args, Stream& stream);
  void (*embedding_backward)(const EmbeddingArgs& args, Stream& stream);
  void (*gather_forward)(const GatherArgs& args, Stream& stream);
  void (*gather_backward)(const GatherArgs& args, Stream& stream);
  void (*attention_forward)(const AttentionArgs& args, Stream& stream);
  void (*attention_backward)(const AttentionArgs& args, Stream& stream);
  void (*rotary)(const RotaryArgs& args, Stream& stream);
  /// param[i], of `dtype`, = grad[i], which is f32: weights of a region of mixed precision, in one go.
  void (*cast_list)(const OptimParam* casts, int count, Stream& stream);
  void (*sgd)(const OptimParam* params, int count, const SgdArgs& args, Stream& stream);
  void (*adamw)(const OptimParam* params, int count, const AdamWArgs& args, Stream& stream);
  /// *norm = sqrt(sum of squares over all gradients), f32, summed in a fixed order.
  void (*grad_norm)(const OptimParam* params, int count, float* norm, Stream& stream);
  /// grad *= min(1, max_norm / (*norm + 1e-6)).
  void (*grad_clip)(const OptimParam* params, int count, const float* norm, double max_norm,
                    Stream& stream);
  /// grad /= scaler->scale for every gradient. record->found = is any of them not finite, record->
  /// skipped += found, scaler->found |= found.
  void (*amp_unscale)(const OptimParam* params, int count, ScalerState* scaler, SkipRecord* record,
                      Stream& stream);
  /// Overflow found: scale *= backoff, tracker = 0. Else tracker += 1 and, at the interval, scale *=
  /// growth unless that is infinite, tracker = 0. found = 0.
  void (*amp_update)(ScalerState* scaler, const AmpUpdateArgs& args, Stream& stream);
  /// dst[i] = words[i] for at most kStoreWords words, which travel with the call: nothing of the
  /// caller's is read later.
  void (*store)(uint64_t* dst, const uint64_t* words, int count, Stream& stream);
};

/// The table of a driver. native/cpu and native/cuda register theirs before the first operator
/// runs.
void register_kernels(fabric::DriverKind kind, const KernelTable& table);
const KernelTable& kernels(const Device& device);

}  // namespace weft
