// where(condition, a, b) on the host driver. Called through the kernel table.
#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/register.h"

namespace weft::cpu {
namespace {

template <typename T>
void where_tile(const Tile& t) {
  map3<T>(t, [](T condition, T a, T b) { return condition != T(0) ? a : b; });
}

}  // namespace

void ternary(TernaryOp op, const TensorIterator& it, Stream& stream) {
  if (op != TernaryOp::kWhere || it.operand[1].dtype != DType::kBool)
    fail_dtype("ternary", static_cast<int>(op), it);
  const LaneType lane = common_lane(it);
  TileFn fn = lane == LaneType::kF32   ? where_tile<float>
              : lane == LaneType::kF64 ? where_tile<double>
                                       : where_tile<int64_t>;
  enqueue_elementwise({it, fn, lane}, stream);
}

}  // namespace weft::cpu
