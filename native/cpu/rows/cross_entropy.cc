// cross_entropy_forward and _backward: log-softmax, negative log-likelihood and label smoothing in
// one pass over the logits, without a matrix of probabilities. Called through the kernel table; the
// semantics are those of torch.nn.functional.cross_entropy. Row losses are added in double, first
// over fixed blocks of rows and then over the blocks in order: the same bits for any thread count.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/async_error.h"
#include "cpu/elementwise/lanes.h"
#include "cpu/elementwise/vector_math.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "dispatch/op_table.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

// A target out of range is the index error that the forward pass notes; such a row counts as
// ignored.
bool counts(const CrossEntropyArgs& args, int64_t target) {
  return target != args.ignore_index && target >= 0 && target < args.cols;
}

template <typename T>
T log_sum_exp(const T* x, int64_t n) {
  const T top = lane_max(x, n);
  if (top == -std::numeric_limits<T>::infinity()) return top;
  return top + std::log(exp_sum(x, top, n));
}

// (1 - s) * -log p[target] + s / n * sum of -log p.
template <typename T>
T row_loss(const T* x, int64_t n, T lse, int64_t target, T smoothing) {
  T loss = lse - x[target];
  if (smoothing != 0) {
    const T sum = lane_sum(n, x);
    loss = (1 - smoothing) * loss + smoothing * (lse - sum / static_cast<T>(n));
  }
  return loss;
}

// out = g * (softmax(x) - what the target asks for); `out` may be x.
template <typename T>
void row_gradient(const T* x, int64_t n, T lse, int64_t target, T g, T smoothing, T* out) {
  const T off = g * (smoothing / static_cast<T>(n));
  for (int64_t i = 0; i < n; ++i) out[i] = g * math::exp(x[i] - lse) - off;
  out[target] -= g * (1 - smoothing);
}

struct Partial {
  double loss = 0;
  int64_t rows = 0;
};

template <typename T>
void forward(const CrossEntropyArgs& args) {
  const int64_t n = args.cols, block = rows_per_chunk(n);
  std::vector<Partial> partials((args.rows + block - 1) / block);
  fabric::host::parallel_for(args.rows, block, [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, n);
    Partial partial;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t target = args.targets[r];
      T lse = -std::numeric_limits<T>::infinity(), loss = 0;
      const T* x = read_panel<T>(args.dtype, args.logits, r * n, n, scratch);
      if (n > 0) lse = log_sum_exp(x, n);
      if (counts(args, target)) {
        loss = row_loss(x, n, lse, target, static_cast<T>(args.label_smoothing));
        ++partial.rows;
      } else if (target != args.ignore_index) {
        note_index_error(args.device, static_cast<uint16_t>(Op::cross_entropy), target, n);
      }
      args.lse[r] = static_cast<float>(lse);
      if (args.grad_logits != nullptr) {  // in the logits' place, or elsewhere
        T* grad = panel_target<T>(args.dtype, args.grad_logits, r * n, scratch);
        if (counts(args, target)) {
          T g = 1;
          if (args.grad_loss) g = args.grad_loss[args.reduction == Reduction::kNone ? r : 0];
          row_gradient(x, n, lse, target, g, static_cast<T>(args.label_smoothing), grad);
        } else {
          std::fill(grad, grad + n, T(0));
        }
        store_panel<T>(args.dtype, args.grad_logits, r * n, n, grad);
      }
      if (args.reduction == Reduction::kNone) args.loss[r] = static_cast<float>(loss);
      partial.loss += loss;
    }
    partials[begin / block] = partial;
  });
  Partial total;
  for (const Partial& p : partials) {
    total.loss += p.loss;
    total.rows += p.rows;
  }
  *args.count = static_cast<float>(total.rows);
  if (args.reduction == Reduction::kSum) *args.loss = static_cast<float>(total.loss);
  if (args.reduction == Reduction::kMean)
    *args.loss = static_cast<float>(total.loss / static_cast<double>(total.rows));
}

template <typename T>
void backward(const CrossEntropyArgs& args) {
  const int64_t n = args.cols;
  const T smoothing = static_cast<T>(args.label_smoothing);
  fabric::host::parallel_for(args.rows, rows_per_chunk(n), [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, 2 * n);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t target = args.targets[r];
      T* grad = panel_target<T>(args.dtype, args.grad_logits, r * n, scratch + n);
      if (counts(args, target)) {
        const T* x = read_panel<T>(args.dtype, args.logits, r * n, n, scratch);
        T g = args.grad_loss[args.reduction == Reduction::kNone ? r : 0];
        if (args.reduction == Reduction::kMean) g /= static_cast<T>(*args.count);
        // The stored log-sum-exp is f32: not enough for gradients in f64, which take it again.
        T lse = args.lse[r];
        if constexpr (std::is_same_v<T, double>) lse = log_sum_exp(x, n);
        row_gradient(x, n, lse, target, g, smoothing, grad);
      } else {
        std::fill(grad, grad + n, T(0));
      }
      store_panel<T>(args.dtype, args.grad_logits, r * n, n, grad);
    }
  });
}

}  // namespace

void cross_entropy_forward(const CrossEntropyArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "crossEntropy", [&](auto zero) {
    using T = decltype(zero);
    fabric::host::enqueue(stream.handle(), [args] { forward<T>(args); });
  });
}

void cross_entropy_backward(const CrossEntropyArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "crossEntropy", [&](auto zero) {
    using T = decltype(zero);
    if (args.rows == 0 || args.cols == 0) return;
    fabric::host::enqueue(stream.handle(), [args] { backward<T>(args); });
  });
}

}  // namespace weft::cpu
