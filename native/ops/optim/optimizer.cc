// Fused optimizer steps, gradient clipping and loss scaling over lists of tensors. They check the lists, hand all
// parameters to one kernel call and bump the version of what was written, so that a graph that
// still needs an old parameter says so. No gradients flow through.
#include <vector>

#include "graph/live_words.h"
#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

/// Reused by each thread: kernels copy their arguments before they return.
std::vector<OptimParam>& scratch() {
  static thread_local std::vector<OptimParam> params;
  params.clear();
  return params;
}

void require_length(std::span<const Tensor> params, std::span<const Tensor> other, const char* name,
                    const char* what) {
  if (params.size() != other.size()) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: %zu params and %zu %s were given; the lists must be equally long",
         name, params.size(), other.size(), what);
  }
}

void require_shape(const Tensor& param, const Tensor& other, int i, const char* name,
                   const char* what) {
  if (!(param.shape() == other.shape())) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: %s %d has shape %s and its parameter %s", name, what, i,
         to_string(other.shape()).c_str(), to_string(param.shape()).c_str());
  }
}

void require_dense(const Tensor& t, int i, const char* name, const char* what) {
  if (!t.is_contiguous()) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: %s %d of shape %s is not contiguous; clone() it", name, what, i,
         to_string(t.shape()).c_str());
  }
}

float* state_of(const Tensor& param, const Tensor& state, int i, const char* name,
                const char* what) {
  require_shape(param, state, i, name, what);
  if (state.dtype() != DType::kF32) [[unlikely]] {
    fail(ErrorCode::kDtype, "%s: %s %d has dtype %s; optimizer state must be f32", name, what, i,
         dtype_name(state.dtype()));
  }
  require_dense(state, i, name, what);
  return state.data_as<float>();
}

/// `count` f32 words that a kernel reads or keeps its state in.
float* words_of(const Tensor& t, int64_t count, const char* name, const char* what) {
  if (t.dtype() != DType::kF32 || t.numel() != count || !t.is_contiguous()) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: %s must be %lld contiguous f32 values, it is %s of shape %s", name,
         what, (long long)count, dtype_name(t.dtype()), to_string(t.shape()).c_str());
  }
  return t.data_as<float>();
}

/// Checks parameter and gradient `i`; `dense` keeps a contiguous copy of the gradient where one is
/// needed.
OptimParam param_of(const Tensor& param, const Tensor& grad, int i, const char* name,
                    Tensor* dense) {
  require_floating(param, name, "a parameter");
  require_dense(param, i, name, "parameter");
  require_shape(param, grad, i, name, "gradient");
  if (grad.dtype() != param.dtype()) [[unlikely]] {
    fail(ErrorCode::kDtype, "%s: gradient %d has dtype %s and its parameter %s", name, i,
         dtype_name(grad.dtype()), dtype_name(param.dtype()));
  }
  const void* data = grad.data();
  if (!grad.is_contiguous()) {
    *dense = clone(grad);
    data = dense->data();
  }
  return {param.data(), data, nullptr, nullptr, param.numel(), param.dtype()};
}

/// What the steps know of overflows, or nullptr where no loss is scaled.
const SkipRecord* skip_of(const Tensor& skip, const char* name) {
  if (!skip) return nullptr;
  return reinterpret_cast<const SkipRecord*>(words_of(skip, 2, name, "skip"));
}

void touch_all(const OpCall& call, Stream& stream) {
  for (const Tensor& t : call.tensors) use_on(stream, t);
}

void written(std::span<const Tensor> tensors, Op op) {
  for (const Tensor& t : tensors) t->storage->bump_version(static_cast<uint16_t>(op));
}

void sgd_step(OpCall& call) {
  constexpr const char* kName = "sgd_step";
  auto params = call.list(0), grads = call.list(1), buffers = call.list(2);
  const double momentum = call.number(4);
  require_length(params, grads, kName, "grads");
  if (momentum != 0 || !buffers.empty()) require_length(params, buffers, kName, "momentum_buffers");
  if (params.empty()) return;
  std::vector<OptimParam>& list = scratch();
  SmallVector<Tensor, 4> copies;
  for (size_t i = 0; i < params.size(); ++i) {
    const int at = static_cast<int>(i);
    Tensor dense;
    OptimParam one = param_of(params[i], grads[i], at, kName, &dense);
    if (!buffers.empty())
      one.state0 = state_of(params[i], buffers[i], at, kName, "momentum buffer");
    if (dense) copies.push_back(std::move(dense));
    if (one.count > 0) list.push_back(one);
  }
  Device& device = params[0].device();
  Stream& stream = current_stream(device);
  auto run = kernel(kernels(device).sgd, kName, device);
  touch_all(call, stream);
  SgdArgs args{call.number(3), momentum,     call.number(5),
               call.number(6), call.flag(7), call.flag(8)};
  args.skip = skip_of(call.tensor(9), kName);
  if (LiveWords* live = live_words(stream)) args.live = live->add_sgd(args);
  run(list.data(), static_cast<int>(list.size()), args, stream);
  written(params, call.op);
}

void adamw_step(OpCall& call) {
  constexpr const char* kName = "adamw_step";
  auto params = call.list(0), grads = call.list(1), first = call.list(2), second = call.list(3);
  require_length(params, grads, kName, "grads");
  require_length(params, first, kName, "first_moments");
  require_length(params, second, kName, "second_moments");
  if (call.integer(9) < 1) [[unlikely]] {
    fail(ErrorCode::kUsage, "adamw_step: step is %lld and counts from 1",
         (long long)call.integer(9));
  }
  if (params.empty()) return;
  std::vector<OptimParam>& list = scratch();
  SmallVector<Tensor, 4> copies;
  for (size_t i = 0; i < params.size(); ++i) {
    const int at = static_cast<int>(i);
    Tensor dense;
    OptimParam one = param_of(params[i], grads[i], at, kName, &dense);
    one.state0 = state_of(params[i], first[i], at, kName, "first moment");
    one.state1 = state_of(params[i], second[i], at, kName, "second moment");
    if (dense) copies.push_back(std::move(dense));
    if (one.count > 0) list.push_back(one);
  }
  Device& device = params[0].device();
  Stream& stream = current_stream(device);
  auto run = kernel(kernels(device).adamw, kName, device);
  touch_all(call, stream);
  AdamWArgs args{call.number(4), call.number(5), call.number(6),
                 call.number(7), call.number(8), call.integer(9)};
  args.skip = skip_of(call.tensor(10), kName);
  if (LiveWords* live = live_words(stream)) args.live = live->add_adamw(args);
  run(list.data(), static_cast<int>(list.size()), args, stream);
  written(params, call.op);
}

/// The gradients that have elements, each floating and dense.
std::vector<OptimParam>& gradient_list(std::span<const Tensor> grads, const char* name) {
  std::vector<OptimParam>& list = scratch();
  for (size_t i = 0; i < grads.size(); ++i) {
    require_floating(grads[i], name, "a gradient");
    require_dense(grads[i], static_cast<int>(i), name, "gradient");
    if (grads[i].numel() == 0) continue;
    list.push_back(
        {grads[i].data(), grads[i].data(), nullptr, nullptr, grads[i].numel(), grads[i].dtype()});
  }
  return list;
}

void clip_grad_norm(OpCall& call) {
  constexpr const char* kName = "clip_grad_norm";
  auto grads = call.list(0);
  const double max_norm = call.number(1);
  if (grads.empty()) [[unlikely]]
    fail(ErrorCode::kUsage, "clip_grad_norm: the list of gradients is empty");
  if (!(max_norm >= 0)) [[unlikely]] {
    fail(ErrorCode::kUsage, "clip_grad_norm: max_norm is %g and must be at least 0", max_norm);
  }
  std::vector<OptimParam>& list = gradient_list(grads, kName);
  Device& device = grads[0].device();
  Stream& stream = current_stream(device);
  Tensor norm = empty({}, DType::kF32, device);
  auto measure = kernel(kernels(device).grad_norm, kName, device);
  auto clip = kernel(kernels(device).grad_clip, kName, device);
  touch_all(call, stream);
  const int count = static_cast<int>(list.size());
  if (count > 0) {
    measure(list.data(), count, norm.data_as<float>(), stream);
    clip(list.data(), count, norm.data_as<float>(), max_norm, stream);
  } else {
    fill_(norm, 0);
  }
  written(grads, call.op);
  call.result(std::move(norm));
}

void amp_unscale(OpCall& call) {
  constexpr const char* kName = "amp_unscale_";
  auto grads = call.list(0);
  const Tensor &scaler = call.tensor(1), &record = call.tensor(2);
  std::vector<OptimParam>& list = gradient_list(grads, kName);
  auto* state = reinterpret_cast<ScalerState*>(words_of(scaler, 3, kName, "scaler"));
  auto* skip = reinterpret_cast<SkipRecord*>(words_of(record, 2, kName, "record"));
  Stream& stream = current_stream(scaler.device());
  auto run = kernel(kernels(scaler.device()).amp_unscale, kName, scaler.device());
  touch_all(call, stream);
  run(list.data(), static_cast<int>(list.size()), state, skip, stream);
  written({call.tensors.data(), call.tensors.size()}, call.op);
}

void amp_update(OpCall& call) {
  constexpr const char* kName = "amp_update_";
  const Tensor& scaler = call.tensor(0);
  auto* state = reinterpret_cast<ScalerState*>(words_of(scaler, 3, kName, "scaler"));
  Stream& stream = current_stream(scaler.device());
  auto run = kernel(kernels(scaler.device()).amp_update, kName, scaler.device());
  touch_all(call, stream);
  run(state, {call.number(1), call.number(2), call.integer(3)}, stream);
  written({call.tensors.data(), call.tensors.size()}, call.op);
}

}  // namespace

void register_optimizer_ops() {
  implement(Op::amp_unscale_, {.forward = amp_unscale});
  implement(Op::amp_update_, {.forward = amp_update});
  implement(Op::sgd_step, {.forward = sgd_step});
  implement(Op::adamw_step, {.forward = adamw_step});
  implement(Op::clip_grad_norm, {.forward = clip_grad_norm});
}

}  // namespace weft::ops
