// Rotary positions (Su et al. 2021): pairs of features (i, i + width/2) turned by an angle that the
// position tells. One kernel for the value, and the same one with the angles reversed for the
// gradient. Called by its row only.
#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

constexpr int kX = 0, kCos = 1, kSin = 2, kGroups = 3;

void check(const Tensor& x, const Tensor& cos, const Tensor& sin, int64_t groups) {
  require_floating(x, "rotary", "x");
  if (x.rank() != 5 || x.size(4) % 2 != 0) [[unlikely]] {
    fail(ErrorCode::kShape,
         "rotary: x %s must be (batch, length, groups, heads, width) with an even width",
         to_string(x.shape()).c_str());
  }
  if (cos.rank() != 2 || !(cos.shape() == sin.shape()) || cos.size(0) < x.size(1) ||
      cos.size(1) != x.size(4) / 2) [[unlikely]] {
    fail(ErrorCode::kShape,
         "rotary: tables cos %s and sin %s must both be (positions, %lld), with %lld positions or "
         "more",
         to_string(cos.shape()).c_str(), to_string(sin.shape()).c_str(),
         static_cast<long long>(x.size(4) / 2), static_cast<long long>(x.size(1)));
  }
  if (cos.dtype() != DType::kF32 || sin.dtype() != DType::kF32) [[unlikely]] {
    fail(ErrorCode::kDtype, "rotary: tables cos and sin must be f32, they are %s and %s",
         dtype_name(cos.dtype()), dtype_name(sin.dtype()));
  }
  if (groups < 0 || groups > x.size(2)) [[unlikely]] {
    fail(ErrorCode::kUsage, "rotary: groups is %lld, x has %lld", static_cast<long long>(groups),
         static_cast<long long>(x.size(2)));
  }
}

Tensor turned(const Tensor& given, const Tensor& cos, const Tensor& sin, int64_t groups,
              bool inverse) {
  Tensor x = contiguous(given), c = contiguous(cos), s = contiguous(sin);
  Tensor out = empty(x.shape(), x.dtype(), x.device());
  if (out.numel() == 0) return out;
  RotaryArgs args{x.dtype(), x.data(), out.data(), c.data_as<float>(), s.data_as<float>()};
  args.rows = x.size(0) * x.size(1);
  args.length = x.size(1);
  args.heads = x.size(2) * x.size(3);
  args.turned = groups * x.size(3);
  args.width = x.size(4);
  args.inverse = inverse;
  auto run = kernel(kernels(x.device()).rotary, "rotary", x.device());
  run(args, stream_for(out, x, c, s));
  return out;
}

void forward(OpCall& call) {
  const Tensor& x = call.tensor(kX);
  check(x, call.tensor(kCos), call.tensor(kSin), call.integer(kGroups));
  call.result(turned(x, call.tensor(kCos), call.tensor(kSin), call.integer(kGroups), false));
}

void gradient(GradCall& call) {
  if (call.needs(kCos) || call.needs(kSin)) {
    fail(ErrorCode::kUsage, "rotary: the tables cos and sin take no gradient; detach() them");
  }
  call.set(kX,
           turned(call.grad(), call.input(kCos), call.input(kSin), call.integer(kGroups), true));
}

}  // namespace

void register_rotary_ops() {
  implement(Op::rotary, {.forward = forward, .gradient = gradient, .keep_inputs = 0b110});
}

}  // namespace weft::ops
