// rotary on the host driver: pairs of features of each head turned by the angle of its position.
// Called through the kernel table.
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

template <typename T>
void turn_head(const T* x, T* out, int64_t half, const float* cos, const float* sin, T direction) {
  for (int64_t i = 0; i < half; ++i) {
    const T a = x[i], b = x[i + half], c = cos[i], s = direction * sin[i];
    out[i] = a * c + b * s;
    out[i + half] = b * c - a * s;
  }
}

template <typename T>
void run(const RotaryArgs& args) {
  const int64_t width = args.width, half = width / 2, row_size = args.heads * width;
  const T direction = args.inverse ? T(-1) : T(1);
  fabric::host::parallel_for(args.rows, rows_per_chunk(row_size), [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, 2 * row_size);
    for (int64_t r = begin; r < end; ++r) {
      const T* x = read_panel<T>(args.dtype, args.x, r * row_size, row_size, scratch);
      T* out = panel_target<T>(args.dtype, args.out, r * row_size, scratch + row_size);
      const int64_t at = r % args.length * half;
      for (int64_t h = 0; h < args.turned; ++h)
        turn_head(x + h * width, out + h * width, half, args.cos + at, args.sin + at, direction);
      for (int64_t i = args.turned * width; i < row_size; ++i) out[i] = x[i];
      store_panel<T>(args.dtype, args.out, r * row_size, row_size, out);
    }
  });
}

}  // namespace

void rotary(const RotaryArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "rotary", [&](auto zero) {
    using T = decltype(zero);
    fabric::host::enqueue(stream.handle(), [args] { run<T>(args); });
  });
}

}  // namespace weft::cpu
