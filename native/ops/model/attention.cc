// Scaled dot-product attention over (batch, heads, length, width). Operands are read through
// strides; the result and the gradients lie in memory as (batch, length, heads, width), so that
// joining or splitting the heads around it moves no data. Log-sum-exp is a hidden output for the
// gradient.
#include <cmath>

#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

constexpr int kQ = 0, kK = 1, kV = 2, kCausal = 3, kScale = 4;

void check(const Tensor& q, const Tensor& k, const Tensor& v) {
  bool agree = q.rank() == 4 && k.rank() == 4 && v.shape() == k.shape();
  for (int d = 0; agree && d < 4; ++d) agree = d == 2 || q.size(d) == k.size(d);
  if (!agree) [[unlikely]] {
    fail(ErrorCode::kShape,
         "attention: q %s, k %s and v %s do not agree; they must be (batch, heads, length, width), "
         "with one length for k and v and all other sizes equal",
         to_string(q.shape()).c_str(), to_string(k.shape()).c_str(), to_string(v.shape()).c_str());
  }
  if (q.dtype() != k.dtype() || q.dtype() != v.dtype()) [[unlikely]] {
    fail(ErrorCode::kDtype, "attention: dtypes %s, %s and %s of q, k and v differ; convert them",
         dtype_name(q.dtype()), dtype_name(k.dtype()), dtype_name(v.dtype()));
  }
  require_floating(q, "attention", "q");
  if (q.size(3) == 0 || (k.size(2) == 0 && q.numel() > 0)) [[unlikely]] {
    fail(ErrorCode::kShape, "attention: q %s and k %s leave nothing to attend to",
         to_string(q.shape()).c_str(), to_string(k.shape()).c_str());
  }
}

/// The kernels want dense rows only.
Tensor dense_rows(const Tensor& t) { return t.strides()[3] == 1 || t.size(3) == 1 ? t : clone(t); }

/// (batch, heads, length, width) over memory of (batch, length, heads, width).
Tensor empty_heads(const Dims& shape, const Tensor& like) {
  return as_own(transpose(
      empty({shape[0], shape[2], shape[1], shape[3]}, like.dtype(), like.device()), 1, 2));
}

void put_strides(int64_t (&to)[3], const Tensor& t) {
  for (int d = 0; d < 3; ++d) to[d] = t.strides()[d];
}

double scale_of(double given, int64_t width) {
  return std::isnan(given) || given == 0 ? 1.0 / std::sqrt(static_cast<double>(width)) : given;
}

AttentionArgs attention_args(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                             const Tensor& lse, bool causal, double scale) {
  AttentionArgs args{};
  args.dtype = q.dtype();
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  args.out = out.data();
  args.lse = lse.data_as<float>();
  args.batch = q.size(0);
  args.heads = q.size(1);
  args.q_len = q.size(2);
  args.kv_len = k.size(2);
  args.width = q.size(3);
  put_strides(args.q_stride, q);
  put_strides(args.k_stride, k);
  put_strides(args.v_stride, v);
  put_strides(args.out_stride, out);
  args.scale = scale_of(scale, args.width);
  args.causal = causal;
  return args;
}

void forward(OpCall& call) {
  check(call.tensor(kQ), call.tensor(kK), call.tensor(kV));
  Tensor q = dense_rows(call.tensor(kQ)), k = dense_rows(call.tensor(kK)),
         v = dense_rows(call.tensor(kV));
  Tensor out = empty_heads(q.shape(), q);
  Tensor lse = empty({q.size(0), q.size(1), q.size(2)}, DType::kF32, q.device());
  if (out.numel() > 0) {
    auto run = kernel(kernels(q.device()).attention_forward, "attention", q.device());
    run(attention_args(q, k, v, out, lse, call.flag(kCausal), call.number(kScale)),
        stream_for(out, q, k, v, lse));
  }
  call.result(std::move(out));
  call.result(std::move(lse));
}

/// What the backward kernel reads and writes beside the forward's arguments.
void put_gradients(AttentionArgs& args, const Tensor& out, const Tensor& q, const Tensor& k,
                   const Tensor& v) {
  args.grad_out = out.data();
  args.grad_q = q.data();
  args.grad_k = k.data();
  args.grad_v = v.data();
  put_strides(args.grad_out_stride, out);
  put_strides(args.grad_q_stride, q);
  put_strides(args.grad_k_stride, k);
  put_strides(args.grad_v_stride, v);
}

void gradient(GradCall& call) {
  Tensor q = dense_rows(call.input(kQ)), k = dense_rows(call.input(kK)),
         v = dense_rows(call.input(kV));
  Tensor out = call.output(0), lse = call.output(1);
  Tensor g = dense_rows(call.grad());
  if (out.numel() == 0) {
    for (int i = 0; i < 3; ++i) {
      if (call.needs(i)) call.set(i, zeros_for(call, i));
    }
    return;
  }
  // One kernel makes all three; those not asked for are dropped.
  Tensor grad_q = empty_heads(q.shape(), q), grad_k = empty_heads(k.shape(), k),
         grad_v = empty_heads(v.shape(), v);
  AttentionArgs args = attention_args(q, k, v, out, lse, call.flag(kCausal), call.number(kScale));
  put_gradients(args, g, grad_q, grad_k, grad_v);
  auto run = kernel(kernels(q.device()).attention_backward, "attention", q.device());
  run(args, stream_for(out, q, k, v, lse, g, grad_q, grad_k, grad_v));
  if (call.needs(kQ)) call.set(kQ, std::move(grad_q));
  if (call.needs(kK)) call.set(kK, std::move(grad_k));
  if (call.needs(kV)) call.set(kV, std::move(grad_v));
}

// q, k and v in one tensor, (batch, length, 3, heads, width), as one projection makes them: the
// kernels read and write its parts through strides, so that nothing is cut and nothing gathered.

/// Part `i` of 3 of a packed tensor: (batch, heads, length, width).
Tensor part_of(const Tensor& packed, int i) { return transpose(select(packed, 2, i), 1, 2); }

Tensor dense_packed(const Tensor& t) {
  return t.strides()[4] == 1 || t.size(4) == 1 ? t : clone(t);
}

void packed_forward(OpCall& call) {
  const Tensor& given = call.tensor(0);
  if (given.rank() != 5 || given.size(2) != 3) [[unlikely]] {
    fail(ErrorCode::kShape,
         "attention_packed: qkv %s must be (batch, length, 3, heads, width); for separate tensors "
         "use attention",
         to_string(given.shape()).c_str());
  }
  Tensor packed = dense_packed(given);
  Tensor q = part_of(packed, 0), k = part_of(packed, 1), v = part_of(packed, 2);
  check(q, k, v);
  Tensor out = empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.dtype(), q.device());
  Tensor lse = empty({q.size(0), q.size(1), q.size(2)}, DType::kF32, q.device());
  if (out.numel() > 0) {
    auto run = kernel(kernels(q.device()).attention_forward, "attention", q.device());
    run(attention_args(q, k, v, transpose(out, 1, 2), lse, call.flag(1), call.number(2)),
        stream_for(out, packed, lse));
  }
  call.result(std::move(out));
  call.result(std::move(lse));
}

void packed_gradient(GradCall& call) {
  Tensor packed = dense_packed(call.input(0));
  Tensor q = part_of(packed, 0), k = part_of(packed, 1), v = part_of(packed, 2);
  Tensor out = transpose(call.output(0), 1, 2), lse = call.output(1);
  Tensor g = dense_rows(transpose(call.grad(), 1, 2));
  Tensor grad = empty(packed.shape(), packed.dtype(), packed.device());
  if (grad.numel() > 0) {
    Tensor grad_q = part_of(grad, 0), grad_k = part_of(grad, 1), grad_v = part_of(grad, 2);
    AttentionArgs args = attention_args(q, k, v, out, lse, call.flag(1), call.number(2));
    put_gradients(args, g, grad_q, grad_k, grad_v);
    auto run = kernel(kernels(q.device()).attention_backward, "attention", q.device());
    run(args, stream_for(out, packed, lse, g, grad));
  }
  call.set(0, std::move(grad));
}

}  // namespace

void register_attention_ops() {
  register_rotary_ops();
  implement(Op::attention_packed, {.forward = packed_forward,
                                   .gradient = packed_gradient,
                                   .keep_inputs = 0b1,
                                   .keep_outputs = 0b11});
  implement(Op::attention,
            {.forward = forward, .gradient = gradient, .keep_inputs = 0b111, .keep_outputs = 0b11});
}

}  // namespace weft::ops
