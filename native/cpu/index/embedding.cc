// embedding_forward and _backward: rows of a table by index, and the sum of gradients back into
// them. Called through the kernel table. The backward pass sorts positions by row first (a counting
// sort, which keeps their order), so every row is summed by one thread in index order, without
// atomics.
#include <algorithm>
#include <cstring>
#include <memory>

#include "core/async_error.h"
#include "cpu/register.h"
#include "cpu/rows/panel.h"
#include "dispatch/op_table.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

void forward(const EmbeddingArgs& args) {
  const int64_t bytes = args.width * static_cast<int64_t>(dtype_bytes(args.dtype));
  const auto* weight = static_cast<const char*>(args.weight);
  auto* out = static_cast<char*>(args.out);
  fabric::host::parallel_for(
      args.count, rows_per_chunk(args.width), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = args.indices[i];
          if (row >= 0 && row < args.vocabulary) {
            std::memcpy(out + i * bytes, weight + row * bytes, bytes);
          } else {
            note_index_error(args.device, static_cast<uint16_t>(Op::embedding), row,
                             args.vocabulary);
            std::memset(out + i * bytes, 0, bytes);
          }
        }
      });
}

template <typename T>
void backward(const EmbeddingArgs& args) {
  const int64_t rows = args.vocabulary, width = args.width;
  // Positions of row v: order[first[v] .. first[v + 1]), ascending.
  std::unique_ptr<int64_t[]> first(new int64_t[static_cast<size_t>(rows + 2)]());
  std::unique_ptr<int64_t[]> order(new int64_t[static_cast<size_t>(args.count)]);
  auto valid = [&](int64_t row) { return row >= 0 && row < rows; };
  for (int64_t i = 0; i < args.count; ++i)
    if (valid(args.indices[i])) ++first[args.indices[i] + 2];
  for (int64_t v = 2; v <= rows + 1; ++v) first[v] += first[v - 1];
  // first[v + 1] is where row v's next position goes; it ends as where row v + 1 starts.
  for (int64_t i = 0; i < args.count; ++i)
    if (valid(args.indices[i])) order[first[args.indices[i] + 1]++] = i;

  fabric::host::parallel_for(rows, rows_per_chunk(width), [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(0, 2 * width);
    for (int64_t v = begin; v < end; ++v) {
      T* sum = panel_target<T>(args.dtype, args.grad_weight, v * width, scratch);
      std::fill(sum, sum + width, T(0));
      for (int64_t at = first[v]; at < first[v + 1]; ++at) {
        const T* grad =
            read_panel<T>(args.dtype, args.grad_out, order[at] * width, width, scratch + width);
        for (int64_t i = 0; i < width; ++i) sum[i] += grad[i];
      }
      store_panel<T>(args.dtype, args.grad_weight, v * width, width, sum);
    }
  });
}

}  // namespace

void embedding_forward(const EmbeddingArgs& args, Stream& stream) {
  if (args.count == 0 || args.width == 0) return;
  fabric::host::enqueue(stream.handle(), [args] { forward(args); });
}

void embedding_backward(const EmbeddingArgs& args, Stream& stream) {
  with_compute_type(args.dtype, "embedding", [&](auto zero) {
    using T = decltype(zero);
    if (args.vocabulary == 0 || args.width == 0) return;
    fabric::host::enqueue(stream.handle(), [args] { backward<T>(args); });
  });
}

}  // namespace weft::cpu
