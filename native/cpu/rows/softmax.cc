// softmax_forward and softmax_backward over the rows of a matrix, also in logarithms. Called
// through the kernel table. A row is read three times (maximum, sum, values) rather than once with
// a running maximum (Milakov & Gimelshein 2018): it lies in cache by then, and a vectorised maximum
// is cheaper than a rescaling of the sum.
#include <algorithm>
#include <cmath>

#include "cpu/elementwise/lanes.h"
#include "cpu/elementwise/vector_math.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

template <typename T>
void forward_row(const T* x, T* y, int64_t n, bool log) {
  const T top = lane_max(x, n);
  if (log) {
    const T log_sum = std::log(exp_sum(x, top, n));
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - top) - log_sum;
    return;
  }
  const T inverse = T(1) / exp_row(x, top, n, y);
  for (int64_t i = 0; i < n; ++i) y[i] *= inverse;
}

template <typename T>
void backward_row(const T* grad, const T* y, T* out, int64_t n, bool log) {
  if (log) {
    const T sum = lane_sum(n, grad);
    for (int64_t i = 0; i < n; ++i) out[i] = grad[i] - math::exp(y[i]) * sum;
    return;
  }
  const T dot = lane_dot(n, grad, y);
  for (int64_t i = 0; i < n; ++i) out[i] = (grad[i] - dot) * y[i];
}

template <typename T>
void run(const SoftmaxArgs& args, bool backward) {
  const int64_t n = args.cols;
  fabric::host::parallel_for(args.rows, rows_per_chunk(n), [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, 3 * n);
    for (int64_t r = begin; r < end; ++r) {
      const T* in = read_panel<T>(args.dtype, args.in, r * n, n, scratch);
      T* out = panel_target<T>(args.dtype, args.out, r * n, scratch + n);
      if (backward) {
        const T* y = read_panel<T>(args.dtype, args.aux, r * n, n, scratch + 2 * n);
        backward_row(in, y, out, n, args.log);
      } else {
        forward_row(in, out, n, args.log);
      }
      store_panel<T>(args.dtype, args.out, r * n, n, out);
    }
  });
}

void enqueue(const SoftmaxArgs& args, bool backward, Stream& stream) {
  with_compute_type(args.dtype, args.log ? "logSoftmax" : "softmax", [&](auto zero) {
    using T = decltype(zero);
    if (args.rows == 0 || args.cols == 0) return;
    fabric::host::enqueue(stream.handle(), [args, backward] { run<T>(args, backward); });
  });
}

}  // namespace

void softmax_forward(const SoftmaxArgs& args, Stream& stream) { enqueue(args, false, stream); }
void softmax_backward(const SoftmaxArgs& args, Stream& stream) { enqueue(args, true, stream); }

}  // namespace weft::cpu
