// Linear with cross entropy on top, without the logits of all rows: chunks of rows go through one scratch of
// (chunk, classes), where the loss is taken and the logits become their gradient in place. Called by the row below.
//
// Design. Where gradients are wanted and the loss is one number, the forward pass sums the gradients of x, weight and
// bias chunk by chunk and keeps them (as Liger Kernel does); the backward pass only scales them by grad / rows that
// count. They are taken for a sum of losses, so no chunk needs to know how many rows count, and f16 underflows less.
// Losses a row ('none') are weighted row by row: their backward pass computes the chunks again.
//  - Chunks go one after the other in one order and depend on shapes, dtype and driver alone: same bits each run.
//  - f16 and bf16: each chunk's gradient of the weight is one product, summed in f32 and rounded; chunks add up in f32.
//  - In a region of mixed precision operands are cast here, so the gradient of an f32 weight never passes bf16 whole.
#include <algorithm>

#include "autograd/node.h"
#include "dispatch/autocast.h"
#include "ops/gradient.h"
#include "ops/launch.h"
#include "ops/matrix/matrix.h"

namespace weft::ops {
namespace {

constexpr const char* kName = "linear_cross_entropy";
constexpr int kX = 0, kWeight = 1, kTarget = 2, kBias = 3;
constexpr int kIgnore = 4, kReduction = 5, kSmoothing = 6, kChunkRows = 7;
// Hidden outputs. A loss of one number: rows that count, gradients of the sum. 'none': the operands as multiplied.
constexpr int kCount = 1, kGradX = 2, kGradWeight = 3, kGradBias = 4;

/// Bytes of logits at a time: on a GPU 5120 rows and more of 50304 classes, so that products stay large.
constexpr int64_t kScratchOnGpu = int64_t{1} << 30, kScratchOnHost = int64_t{64} << 20;

struct Operands {
  Tensor x;       ///< (rows, in), contiguous
  Tensor weight;  ///< (classes, in), contiguous
  Tensor bias;    ///< (classes,) or undefined
  Tensor target;  ///< (rows,) i64, contiguous
  int64_t rows() const { return x.size(0); }
  int64_t classes() const { return weight.size(0); }
};

struct Gradients {
  Tensor x, weight, bias;  ///< undefined where not wanted
  bool any() const { return x.defined() || weight.defined() || bias.defined(); }
};

struct Wanted {
  bool x, weight, bias;
};

struct LossOptions {
  int64_t ignore_index;
  Reduction reduction;
  double smoothing;
  int64_t chunk_rows;
};

bool castable(const Tensor& t) { return t.dtype() == DType::kF32 || is_half(t.dtype()); }

Tensor in_region(const Tensor& t) {
  if (!t || !autocast::on() || !castable(t)) return t;
  return to_dtype(t, autocast::low_dtype());
}

void check(const Tensor& x, const Tensor& weight, const Tensor& target, const Tensor& bias,
           const LossOptions& options) {
  if (weight.rank() != 2 || x.rank() == 0 || x.size(-1) != weight.size(1) || weight.numel() == 0)
      [[unlikely]] {
    fail(ErrorCode::kShape,
         "%s: x %s and weight %s do not agree; weight must be (classes, in) with in the last size "
         "of x, neither 0",
         kName, to_string(x.shape()).c_str(), to_string(weight.shape()).c_str());
  }
  Dims rows = x.shape();
  rows.erase(rows.n - 1);
  if (!(target.shape() == rows)) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: target %s must have the shape of x %s without the last", kName,
         to_string(target.shape()).c_str(), to_string(x.shape()).c_str());
  }
  if (bias.defined() && (bias.rank() != 1 || bias.size(0) != weight.size(0))) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: bias %s must be (%lld,), the rows of weight", kName,
         to_string(bias.shape()).c_str(), (long long)weight.size(0));
  }
  if (static_cast<int>(options.reduction) > 2) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: reduction %d must be 0 (none), 1 (mean) or 2 (sum)", kName,
         static_cast<int>(options.reduction));
  }
  if (!(options.smoothing >= 0 && options.smoothing <= 1)) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: label smoothing %g must be in 0..1", kName, options.smoothing);
  }
  if (options.chunk_rows < 0) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: %lld rows a chunk; 0 leaves the choice to weft", kName,
         (long long)options.chunk_rows);
  }
}

/// Operands as the products read them.
Operands operands(const Tensor& x, const Tensor& weight, const Tensor& target, const Tensor& bias) {
  Operands o;
  o.weight = contiguous(in_region(weight));
  Tensor rows = in_region(x);
  require_product_dtypes(rows, o.weight, kName);
  require_floating(rows, kName, "x");
  o.x = contiguous(reshape(rows, {x.numel() / x.size(-1), x.size(-1)}));
  if (bias.defined()) {
    o.bias = contiguous(in_region(bias));
    if (o.bias.dtype() != o.x.dtype()) [[unlikely]] {
      fail(ErrorCode::kDtype, "%s: bias has dtype %s and x has %s; convert one of them", kName,
           dtype_name(o.bias.dtype()), dtype_name(o.x.dtype()));
    }
  }
  o.target = contiguous(reshape(index_tensor(target, kName, "target"), {o.x.size(0)}));
  return o;
}

/// Chunks of about equal size that the scratch can hold, in steps of 128 rows.
int64_t rows_a_chunk(const Operands& o, int64_t asked) {
  const int64_t rows = o.rows();
  if (asked > 0) return std::min(asked, rows);
  const bool host = o.x.device().kind() == fabric::DriverKind::kHost;
  const int64_t row_bytes = o.classes() * static_cast<int64_t>(dtype_bytes(o.x.dtype()));
  const int64_t most = std::max<int64_t>((host ? kScratchOnHost : kScratchOnGpu) / row_bytes, 128);
  const int64_t chunks = (rows + most - 1) / most;
  const int64_t even = (rows + chunks - 1) / chunks;
  return std::min({(even + 127) / 128 * 128, most, rows});
}

/// out (m, n) = a · b, added to what is there where `adds`.
void product(const Tensor& out, const Tensor& a, const Tensor& b, const Tensor& bias, bool adds) {
  const Matrix left = as_matrix(a), right = as_matrix(b);
  GemmArgs args = gemm_args(out, left, right);
  if (bias.defined()) args.bias = bias.data();
  if (adds) args.beta = 1;
  launch_gemm(args, out, left, right, bias, {}, kName);
}

/// sum += part over all chunks; f16 and bf16 parts are added in f32, a single one stays as it is.
void accumulate(Tensor& sum, Tensor part, bool only) {
  if (!sum.defined()) {
    sum = is_half(part.dtype()) && !only ? to_dtype(part, DType::kF32) : std::move(part);
  } else {
    binary_(BinaryOp::kAdd, sum, to_dtype(part, sum.dtype()), kName);  // in place only in one dtype
  }
}

/// grad += dᵀ · x of one chunk.
void add_weight_gradient(Tensor& grad, const Tensor& d, const Tensor& x, bool only) {
  const Dims shape{d.size(1), x.size(1)};
  const bool in_place = grad.defined() && !is_half(x.dtype());
  Tensor part = in_place ? grad : empty(shape, x.dtype(), x.device());
  product(part, transpose(d, 0, 1), x, {}, in_place);
  if (!in_place) accumulate(grad, std::move(part), only);
}

struct Losses {
  Tensor loss;   ///< (rows,) for 'none', else (chunks,) sums; f32
  Tensor count;  ///< (chunks,) rows that count, f32
};

/// All chunks in order: losses, and the gradients that are wanted, each row's loss weighted by
/// `grad_loss` (rows,) for 'none', undefined for a sum of losses.
Losses run_chunks(const Operands& o, const LossOptions& options, const Tensor& grad_loss,
                  Wanted wanted, Gradients& grads) {
  Device& device = o.x.device();
  const int64_t rows = o.rows(), chunk = rows_a_chunk(o, options.chunk_rows);
  const int64_t chunks = (rows + chunk - 1) / chunk;
  const bool each = options.reduction == Reduction::kNone;
  Losses out{empty({each ? rows : chunks}, DType::kF32, device),
             empty({chunks}, DType::kF32, device)};
  Tensor scratch = empty({chunk, o.classes()}, o.x.dtype(), device);
  Tensor lse = empty({chunk}, DType::kF32, device);
  if (wanted.x) grads.x = empty(o.x.shape(), o.x.dtype(), device);
  auto loss_of = kernel(kernels(device).cross_entropy_forward, kName, device);
  const bool differentiates = wanted.x || wanted.weight || wanted.bias;
  for (int64_t i = 0; i < chunks; ++i) {
    const int64_t first = i * chunk, count = std::min(chunk, rows - first);
    Tensor x = narrow(o.x, 0, first, count), logits = narrow(scratch, 0, 0, count);
    product(logits, x, transpose(o.weight, 0, 1), o.bias, false);
    CrossEntropyArgs args{};
    args.dtype = o.x.dtype();
    args.logits = logits.data();
    args.targets = o.target.data_as<int64_t>() + first;
    args.loss = out.loss.data_as<float>() + (each ? first : i);
    args.lse = lse.data_as<float>();
    args.count = out.count.data_as<float>() + i;
    args.rows = count;
    args.cols = o.classes();
    args.ignore_index = options.ignore_index;
    args.label_smoothing = options.smoothing;
    args.reduction = each ? Reduction::kNone : Reduction::kSum;
    args.device = device.index();
    if (differentiates) {
      if (grad_loss.defined()) args.grad_loss = grad_loss.data_as<float>() + first;
      args.grad_logits = logits.data();  // each element is read before it is written
    }
    loss_of(args, stream_for(scratch, o.target, out.loss, out.count, lse, grad_loss));
    if (!differentiates) continue;
    if (wanted.x) product(narrow(grads.x, 0, first, count), logits, o.weight, {}, false);
    if (wanted.weight) add_weight_gradient(grads.weight, logits, x, chunks == 1);
    if (wanted.bias) accumulate(grads.bias, sum(logits, {0}, false), chunks == 1);
  }
  return out;
}

/// The sum over chunks as one number.
Tensor total(const Tensor& chunks) {
  return chunks.numel() == 1 ? as_own(view(chunks, {})) : sum(chunks, {}, false);
}

LossOptions options_of(int64_t ignore, int64_t reduction, double smoothing, int64_t chunk_rows) {
  return {ignore, static_cast<Reduction>(reduction), smoothing, chunk_rows};
}

void forward(OpCall& call) {
  const Tensor &x = call.tensor(kX), &weight = call.tensor(kWeight), &bias = call.tensor(kBias);
  const LossOptions options = options_of(call.integer(kIgnore), call.integer(kReduction),
                                         call.number(kSmoothing), call.integer(kChunkRows));
  check(x, weight, call.tensor(kTarget), bias, options);
  const Operands o = operands(x, weight, call.tensor(kTarget), bias);
  Device& device = x.device();
  const bool each = options.reduction == Reduction::kNone, records = grad_enabled();
  const Wanted wanted{records && x.requires_grad(), records && weight.requires_grad(),
                      records && bias.defined() && bias.requires_grad()};
  if (each) {
    Gradients none;
    Tensor loss =
        o.rows() > 0 ? run_chunks(o, options, {}, {}, none).loss : empty({0}, DType::kF32, device);
    call.result(as_own(view(loss, call.tensor(kTarget).shape())));
    if (wanted.x || wanted.weight || wanted.bias) {
      call.result(o.x);
      call.result(o.weight);
      if (o.bias.defined()) call.result(o.bias);
    }
    return;
  }
  Gradients grads;
  Losses chunks{full({1}, 0, DType::kF32, device), full({1}, 0, DType::kF32, device)};
  if (o.rows() > 0) {
    chunks = run_chunks(o, options, {}, wanted, grads);
  } else {
    if (wanted.x) grads.x = empty(o.x.shape(), o.x.dtype(), device);
    if (wanted.weight) grads.weight = full(o.weight.shape(), 0, o.x.dtype(), device);
    if (wanted.bias) grads.bias = full(o.bias.shape(), 0, o.x.dtype(), device);
  }
  Tensor loss = total(chunks.loss), count = total(chunks.count);
  if (options.reduction == Reduction::kMean) loss = div(loss, count);
  call.result(std::move(loss));
  if (!grads.any()) return;
  call.result(std::move(count));
  call.result(std::move(grads.x));
  call.result(std::move(grads.weight));
  call.result(std::move(grads.bias));
}

/// 'none': the chunks once more, each row weighted by its gradient.
void gradient_of_rows(GradCall& call, const LossOptions& options) {
  Operands o;
  o.x = call.output(1);
  o.weight = call.output(2);
  if (call.has_input(kBias)) o.bias = call.output(3);
  o.target = contiguous(reshape(index_tensor(call.input(kTarget), kName, "target"), {o.rows()}));
  Gradients grads;
  const Wanted wanted{call.needs(kX), call.needs(kWeight),
                      call.has_input(kBias) && call.needs(kBias)};
  if (o.rows() > 0) {
    Tensor g = contiguous(reshape(to_dtype(call.grad(), DType::kF32), {o.rows()}));
    run_chunks(o, options, g, wanted, grads);
  } else {
    if (wanted.x) grads.x = zeros_like(o.x);
    if (wanted.weight) grads.weight = zeros_like(o.weight);
    if (wanted.bias) grads.bias = zeros_like(o.bias);
  }
  if (wanted.x) give(call, kX, view(grads.x, call.input_shape(kX)));
  if (wanted.weight) give(call, kWeight, grads.weight);
  if (wanted.bias) give(call, kBias, grads.bias);
}

void gradient(GradCall& call) {
  const LossOptions options = options_of(call.integer(kIgnore), call.integer(kReduction),
                                         call.number(kSmoothing), call.integer(kChunkRows));
  if (options.reduction == Reduction::kNone) return gradient_of_rows(call, options);
  Tensor scale = to_dtype(call.grad(), DType::kF32);
  if (options.reduction == Reduction::kMean) scale = div(scale, call.output(kCount));
  if (call.needs(kX)) {
    give(call, kX, view(mul(call.output(kGradX), scale), call.input_shape(kX)));
  }
  if (call.needs(kWeight)) give(call, kWeight, mul(call.output(kGradWeight), scale));
  if (call.has_input(kBias) && call.needs(kBias)) {
    give(call, kBias, mul(call.output(kGradBias), scale));
  }
}

}  // namespace

void register_linear_cross_entropy_ops() {
  implement(Op::linear_cross_entropy, {.forward = forward,
                                       .gradient = gradient,
                                       .keep_inputs = 1u << kTarget,
                                       .keep_outputs = 0b11110});
}

}  // namespace weft::ops
