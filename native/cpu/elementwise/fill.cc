// Constant and counting fills on the host driver. Called through the kernel table.
#include <algorithm>

#include "cpu/elementwise/convert_block.h"
#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/elementwise/strided_copy.h"
#include "cpu/register.h"
#include "fabric/host_queue.h"

namespace weft::cpu {

void fill(const TensorIterator& out, double value, Stream& stream) {
  if (out.numel == 0) return;
  alignas(8) char element[8] = {};
  const DType dtype = out.operand[0].dtype;
  store_fn(LaneType::kF64, dtype)(element, 0, &value, 1);
  uint64_t bits = std::bit_cast<uint64_t>(element);
  // A copy from one element, which lives in the task, repeated by strides of 0.
  TensorIterator it = out;
  it.operands = 2;
  it.contiguous = false;
  it.operand[1] = IterOperand{};
  it.operand[1].dtype = dtype;
  if (out.contiguous || it.ndim == 0) {
    it.ndim = 1;
    it.shape[0] = out.numel;
    it.operand[0].strides[0] = static_cast<int64_t>(dtype_bytes(dtype));
  }
  fabric::host::enqueue(stream.handle(), [it, bits]() mutable {
    it.operand[1].data = reinterpret_cast<char*>(&bits);
    strided_copy(it);
  });
}

void range(const RangeArgs& args, Stream& stream) {
  if (args.count == 0) return;
  fabric::host::enqueue(stream.handle(), [args] {
    const StoreFn store = store_fn(LaneType::kF64, args.dtype);
    const auto size = static_cast<int64_t>(dtype_bytes(args.dtype));
    auto run = [&](int64_t begin, int64_t end) {
      constexpr int64_t kTile = 512;
      double values[kTile];
      for (int64_t at = begin; at < end; at += kTile) {
        int64_t n = std::min(kTile, end - at);
        for (int64_t i = 0; i < n; ++i)
          values[i] = args.start + static_cast<double>(at + i) * args.step;
        store(static_cast<char*>(args.out) + at * size, size, values, n);
      }
    };
    if (args.count <= kElementGrain) return run(0, args.count);
    fabric::host::parallel_for(args.count, kElementGrain, run);
  });
}

}  // namespace weft::cpu
