// gather_forward and gather_backward along one dimension. Called through the kernel table. The
// backward pass gives each thread whole lines of the indexed dimension, so equal indices are summed
// by one thread, in order, without atomics.
#include <algorithm>
#include <cstring>

#include "core/async_error.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "dispatch/op_table.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

// Moves elements of the same size, whatever they mean.
template <typename T>
void forward(const GatherArgs& args) {
  const auto* in = static_cast<const T*>(args.in);
  auto* out = static_cast<T*>(args.out);
  const int64_t rows = args.outer * args.count, inner = args.inner;
  fabric::host::parallel_for(rows, rows_per_chunk(inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* from = in + row / args.count * args.bound * inner;
      const int64_t* index = args.index + row * inner;
      T* to = out + row * inner;
      for (int64_t k = 0; k < inner; ++k) {
        if (index[k] >= 0 && index[k] < args.bound) {
          to[k] = from[index[k] * inner + k];
        } else {
          note_index_error(args.device, static_cast<uint16_t>(Op::gather), index[k], args.bound);
          to[k] = 0;
        }
      }
    }
  });
}

// One `outer` slice, columns k0..k0+columns of `inner`.
template <typename T>
void backward_lines(const GatherArgs& args, int64_t outer, int64_t k0, int64_t columns) {
  const bool half = is_half(args.dtype);
  T* scratch = half ? thread_scratch<T>(0, (args.bound + 1) * columns) : nullptr;
  const int64_t base = outer * args.bound * args.inner + k0;
  T* sums =
      half ? scratch + columns : reinterpret_cast<T*>(element(args.grad_in, args.dtype, base));
  const int64_t step = half ? columns : args.inner;
  for (int64_t row = 0; row < args.bound; ++row)
    std::fill(sums + row * step, sums + row * step + columns, T(0));
  for (int64_t j = 0; j < args.count; ++j) {
    const int64_t at = (outer * args.count + j) * args.inner + k0;
    const T* grad = read_panel<T>(args.dtype, args.grad_out, at, columns, scratch);
    const int64_t* index = args.index + at;
    for (int64_t k = 0; k < columns; ++k)
      if (index[k] >= 0 && index[k] < args.bound) sums[index[k] * step + k] += grad[k];
  }
  if (!half) return;
  for (int64_t row = 0; row < args.bound; ++row)
    store_panel<T>(args.dtype, args.grad_in, base + row * args.inner, columns, sums + row * step);
}

template <typename T>
void backward(const GatherArgs& args) {
  constexpr int64_t kColumns = 64;  // a few cache lines, so that neighbours do not share one
  const int64_t across = (args.inner + kColumns - 1) / kColumns;
  const int64_t cost = (args.bound + args.count) * std::min(kColumns, args.inner);
  fabric::host::parallel_for(
      args.outer * across, rows_per_chunk(cost), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t k0 = i % across * kColumns;
          backward_lines<T>(args, i / across, k0, std::min(kColumns, args.inner - k0));
        }
      });
}

}  // namespace

void gather_forward(const GatherArgs& args, Stream& stream) {
  if (args.outer == 0 || args.count == 0 || args.inner == 0) return;
  void (*body)(const GatherArgs&) = nullptr;
  switch (dtype_bytes(args.dtype)) {
    case 1:
      body = forward<uint8_t>;
      break;
    case 2:
      body = forward<uint16_t>;
      break;
    case 4:
      body = forward<uint32_t>;
      break;
    default:
      body = forward<uint64_t>;
      break;
  }
  fabric::host::enqueue(stream.handle(), [args, body] { body(args); });
}

void gather_backward(const GatherArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "gather", [&](auto zero) {
    using T = decltype(zero);
    if (args.outer == 0 || args.bound == 0 || args.inner == 0) return;
    fabric::host::enqueue(stream.handle(), [args] { backward<T>(args); });
  });
}

}  // namespace weft::cpu
