// Cross entropy of logits (.., C) with target classes (..). The loss is f32 whatever the dtype of
// the logits, f64 included; log-sum-exp and the number of rows that count are hidden outputs for
// the gradient.
#include <limits>

#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

constexpr int kLogits = 0, kTarget = 1, kIgnore = 2, kReduction = 3, kSmoothing = 4;

Dims rows_shape(const Dims& logits) {
  Dims out = logits;
  out.erase(out.n - 1);
  return out;
}

void check(const Tensor& logits, const Tensor& target, int64_t reduction, double smoothing) {
  require_floating(logits, "cross_entropy", "logits");
  if (logits.rank() == 0 || logits.size(-1) == 0) [[unlikely]] {
    fail(ErrorCode::kShape,
         "cross_entropy: logits %s have no classes; the shape must be (.., classes)",
         to_string(logits.shape()).c_str());
  }
  if (!(target.shape() == rows_shape(logits.shape()))) [[unlikely]] {
    fail(ErrorCode::kShape,
         "cross_entropy: target %s must have the shape of logits %s without the last",
         to_string(target.shape()).c_str(), to_string(logits.shape()).c_str());
  }
  if (reduction < 0 || reduction > 2) [[unlikely]] {
    fail(ErrorCode::kUsage, "cross_entropy: reduction %lld must be 0 (none), 1 (mean) or 2 (sum)",
         (long long)reduction);
  }
  if (!(smoothing >= 0 && smoothing <= 1)) [[unlikely]] {
    fail(ErrorCode::kUsage, "cross_entropy: label smoothing %g must be in 0..1", smoothing);
  }
}

CrossEntropyArgs loss_args(const Tensor& logits, const Tensor& target, int64_t ignore_index,
                           Reduction reduction, double smoothing) {
  CrossEntropyArgs args{};
  args.dtype = logits.dtype();
  args.logits = logits.data();
  args.targets = target.data_as<int64_t>();
  args.cols = logits.size(-1);
  args.rows = logits.numel() / args.cols;
  args.ignore_index = ignore_index;
  args.label_smoothing = smoothing;
  args.reduction = reduction;
  args.device = logits.device().index();
  return args;
}

void forward(OpCall& call) {
  check(call.tensor(kLogits), call.tensor(kTarget), call.integer(kReduction),
        call.number(kSmoothing));
  Tensor target = contiguous(index_tensor(call.tensor(kTarget), "cross_entropy", "target"));
  Tensor logits = contiguous(call.tensor(kLogits));
  Device& device = logits.device();
  auto reduction = static_cast<Reduction>(call.integer(kReduction));
  const Dims rows = target.shape();
  Tensor loss = empty(reduction == Reduction::kNone ? rows : Dims{}, DType::kF32, device);
  Tensor lse = empty(rows, DType::kF32, device);
  Tensor count = empty({}, DType::kF32, device);
  if (target.numel() > 0) {
    CrossEntropyArgs args =
        loss_args(logits, target, call.integer(kIgnore), reduction, call.number(kSmoothing));
    args.loss = loss.data_as<float>();
    args.lse = lse.data_as<float>();
    args.count = count.data_as<float>();
    auto run = kernel(kernels(device).cross_entropy_forward, "cross_entropy", device);
    run(args, stream_for(loss, logits, target, lse, count));
  } else {
    if (loss.numel() > 0) {
      fill_(loss, reduction == Reduction::kMean ? std::numeric_limits<double>::quiet_NaN() : 0);
    }
    fill_(count, 0);
  }
  call.result(std::move(loss));
  call.result(std::move(lse));
  call.result(std::move(count));
}

void gradient(GradCall& call) {
  Tensor logits = contiguous(call.input(kLogits));
  Tensor target = contiguous(index_tensor(call.input(kTarget), "cross_entropy", "target"));
  Tensor lse = call.output(1), count = call.output(2);
  Tensor g = contiguous(to_dtype(call.grad(), DType::kF32));
  Tensor out = empty(logits.shape(), logits.dtype(), logits.device());
  if (out.numel() > 0) {
    CrossEntropyArgs args =
        loss_args(logits, target, call.integer(kIgnore),
                  static_cast<Reduction>(call.integer(kReduction)), call.number(kSmoothing));
    args.lse = lse.data_as<float>();
    args.count = count.data_as<float>();
    args.grad_loss = g.data_as<float>();
    args.grad_logits = out.data();
    auto run = kernel(kernels(out.device()).cross_entropy_backward, "cross_entropy", out.device());
    run(args, stream_for(out, logits, target, lse, count, g));
  }
  call.set(kLogits, std::move(out));
}

}  // namespace

void register_loss_ops() {
  implement(Op::cross_entropy,
            {.forward = forward, .gradient = gradient, .keep_inputs = 0b11, .keep_outputs = 0b110});
  register_linear_cross_entropy_ops();
}

}  // namespace weft::ops
