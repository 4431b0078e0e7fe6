// Copies with conversion on the host driver: any dtype to any, any layout. Called through the
// kernel table and by unary (kCopy).
#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/elementwise/strided_copy.h"
#include "cpu/register.h"
#include "fabric/host_queue.h"

namespace weft::cpu {

void cast(const TensorIterator& it, Stream& stream) {
  if (it.numel == 0) return;
  if (it.operand[0].dtype == it.operand[1].dtype) {
    fabric::host::enqueue(stream.handle(), [it] { strided_copy(it); });
    return;
  }
  // The lane of the source loses nothing, so the only rounding is that of the destination.
  enqueue_elementwise({it, nullptr, lane_of(it.operand[1].dtype)}, stream);
}

}  // namespace weft::cpu
