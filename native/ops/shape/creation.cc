// Tensors from nothing: filled, counted and random. Called by the boxed rows below and by gradient
// formulas that need zeros. All work runs on the current stream of the device asked for.
#include "dispatch/op_table.h"
#include "ops/launch.h"
#include "ops/ops.h"
#include "random/generator.h"

namespace weft::ops {

Tensor full(const Dims& shape, double value, DType dtype, Device& device) {
  Tensor out = empty(shape, dtype, device);
  fill_(out, value);
  return out;
}

Tensor zeros_like(const Tensor& t) { return full(t.shape(), 0, t.dtype(), t.device()); }

Tensor arange(double start, double step, int64_t count, DType dtype, Device& device) {
  if (count < 0)
    fail(ErrorCode::kUsage, "arange: count is %lld and must be at least 0", (long long)count);
  if (dtype == DType::kBool)
    fail(ErrorCode::kDtype, "arange: dtype bool cannot count; use i64 or f32");
  Tensor out = empty(Dims{count}, dtype, device);
  if (count == 0) return out;
  auto run = kernel(kernels(device).range, "arange", device);
  run(RangeArgs{dtype, out.data(), count, start, step}, stream_for(out));
  return out;
}

namespace {

const char* random_name(RandomArgs::Kind kind) {
  switch (kind) {
    case RandomArgs::Kind::kUniform:
      return "uniform";
    case RandomArgs::Kind::kNormal:
      return "normal";
    case RandomArgs::Kind::kRandInt:
      return "randint";
    case RandomArgs::Kind::kDropout:
      return "dropout";
  }
  return "random";
}

}  // namespace

Tensor random(RandomArgs::Kind kind, const Dims& shape, double p0, double p1, DType dtype,
              Device& device) {
  const char* name = random_name(kind);
  if (kind == RandomArgs::Kind::kRandInt) {
    if (!(p0 < p1)) {
      fail(ErrorCode::kUsage, "randint: low is %.17g and high is %.17g; low must be less than high",
           p0, p1);
    }
    if (dtype == DType::kBool)
      fail(ErrorCode::kDtype, "randint: dtype bool has no range; use u8 or i64");
  } else if (!is_floating(dtype)) {
    fail(ErrorCode::kDtype, "%s: dtype %s must be floating (f32, f64, f16 or bf16)", name,
         dtype_name(dtype));
  }
  if (kind == RandomArgs::Kind::kNormal && !(p1 >= 0)) {
    fail(ErrorCode::kUsage, "normal: std is %g and must be at least 0", p1);
  }
  Tensor out = empty(shape, dtype, device);
  if (out.numel() == 0) return out;
  auto run = kernel(kernels(device).random, name, device);
  RandomRange range = take_random(current_stream(device), out.numel());
  run(RandomArgs{kind, dtype, out.data(), out.numel(), p0, p1, range.seed, range.offset, nullptr,
                 nullptr, range.live},
      stream_for(out));
  return out;
}

namespace {

template <RandomArgs::Kind kKind>
void random_row(OpCall& call) {
  call.result(
      random(kKind, call.dims(0), call.number(1), call.number(2), call.dtype(3), call.device(4)));
}

}  // namespace

void register_creation_ops() {
  implement(Op::full, {.forward = [](OpCall& call) {
              call.result(full(call.dims(0), call.number(1), call.dtype(2), call.device(3)));
            }});
  implement(Op::arange, {.forward = [](OpCall& call) {
              call.result(arange(call.number(0), call.number(1), call.integer(2), call.dtype(3),
                                 call.device(4)));
            }});
  implement(Op::uniform, {.forward = random_row<RandomArgs::Kind::kUniform>});
  implement(Op::normal, {.forward = random_row<RandomArgs::Kind::kNormal>});
  implement(Op::randint, {.forward = random_row<RandomArgs::Kind::kRandInt>});
}

}  // namespace weft::ops
