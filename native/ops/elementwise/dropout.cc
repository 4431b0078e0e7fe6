// Dropout: each element is 0 with probability p, the others are scaled by 1 / (1 - p). The mask is
// a hidden output, and the gradient is the same scaling under it.
#include "ops/gradient.h"
#include "ops/launch.h"
#include "random/generator.h"

namespace weft::ops {
namespace {

void forward(OpCall& call) {
  const double p = call.number(1);
  require_floating(call.tensor(0), "dropout", "x");
  if (!(p >= 0 && p < 1)) [[unlikely]] {
    fail(ErrorCode::kUsage, "dropout: p is %g and must be at least 0 and less than 1", p);
  }
  Tensor x = contiguous(call.tensor(0));
  Device& device = x.device();
  Tensor out = empty(x.shape(), x.dtype(), device);
  Tensor mask = empty(x.shape(), DType::kBool, device);
  if (x.numel() > 0) {
    auto run = kernel(kernels(device).random, "dropout", device);
    RandomRange range = take_random(current_stream(device), x.numel());
    run(RandomArgs{RandomArgs::Kind::kDropout, x.dtype(), out.data(), x.numel(), p, 1, range.seed,
                   range.offset, x.data(), mask.data(), range.live},
        stream_for(out, x, mask));
  }
  call.result(std::move(out));
  call.result(std::move(mask));
}

void gradient(GradCall& call) {
  ElementParams scale{1.0 / (1.0 - call.number(1))};
  call.set(0, binary(BinaryOp::kMaskScale, call.grad(), call.output(1), "dropout", scale));
}

}  // namespace

void register_dropout_ops() {
  implement(Op::dropout, {.forward = forward, .gradient = gradient, .keep_outputs = 0b10});
}

}  // namespace weft::ops
