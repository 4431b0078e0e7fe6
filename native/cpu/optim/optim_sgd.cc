// sgd: one step of stochastic gradient descent with momentum over a list of parameters, in one
// pass. Called through the kernel table; the semantics are those of torch.optim.SGD, where the
// momentum buffer has no learning rate in it (Sutskever et al. 2013 write the other form).
#include "cpu/optim/param_chunks.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"

namespace weft::cpu {
namespace {

template <typename T>
void step(const OptimParam& p, const ParamChunk& chunk, const SgdArgs& args) {
  T* scratch = thread_scratch<T>(0, 2 * kParamChunk);
  const int64_t n = chunk.count;
  const T* grad = read_panel(p.dtype, p.grad, chunk.begin, n, scratch);
  T* param = scratch + kParamChunk;
  param = const_cast<T*>(read_panel<T>(p.dtype, p.param, chunk.begin, n, param));
  const T lr = args.lr, decay = args.weight_decay, momentum = args.momentum;
  if (args.momentum == 0 || p.state0 == nullptr) {
    for (int64_t i = 0; i < n; ++i) param[i] -= lr * (grad[i] + decay * param[i]);
  } else {
    float* buffer = p.state0 + chunk.begin;
    // The first step takes the gradient itself, without dampening.
    const T keep = args.first_step ? T(0) : momentum;
    const T take = args.first_step ? T(1) : T(1 - args.dampening);
    // Both forms are buffer_weight * buffer + grad_weight * gradient.
    const T buffer_weight = args.nesterov ? momentum : T(1);
    const T grad_weight = args.nesterov ? T(1) : T(0);
    if (args.first_step)  // what the buffer holds may be anything, NaN too
      for (int64_t i = 0; i < n; ++i) buffer[i] = 0;
    for (int64_t i = 0; i < n; ++i) {
      const T g = grad[i] + decay * param[i];
      const T b = keep * buffer[i] + take * g;
      buffer[i] = static_cast<float>(b);
      param[i] -= lr * (buffer_weight * b + grad_weight * g);
    }
  }
  store_panel<T>(p.dtype, p.param, chunk.begin, n, param);
}

}  // namespace

void sgd(const OptimParam* params, int count, const SgdArgs& args, Stream& stream) {
  check_param_dtypes(params, count, "sgd");
  fabric::host::enqueue(
      stream.handle(), [list = std::vector<OptimParam>(params, params + count), args] {
        if (args.skip != nullptr && args.skip->found != 0) return;
        SgdArgs now = args;
        if (args.live != nullptr) now.lr = args.live[0];
        const auto chunks = cut_params(list);
        for_each_chunk(chunks, [&](int64_t, const ParamChunk& chunk) {
          const OptimParam& p = list[chunk.param];
          p.dtype == DType::kF64 ? step<double>(p, chunk, now) : step<float>(p, chunk, now);
        });
      });
}

}  // namespace weft::cpu
