// Sums, means and sums of squares on CUDA. A thread adds in f32 (f64, i64) in several accumulators,
// threads and chunks combine in f64, so the error does not grow with the tensor. Called by
// reduce().
#include "cuda/reduce/kinds.h"
#include "cuda/reduce/reduce.cuh"

namespace weft::cuda {
namespace {

template <typename L, bool kSquares>
struct SumOp {
  using Lane = L;
  using Thread = L;
  using Value = std::conditional_t<std::is_integral_v<L>, int64_t, double>;

  __device__ __forceinline__ Thread begin(L) const { return L(0); }
  __device__ __forceinline__ void add(Thread& t, L x, int64_t) const {
    t = cuda::add(t, kSquares ? mul(x, x) : x);
  }
  __device__ __forceinline__ Value value(Thread t) const { return t; }
  __device__ __forceinline__ Value start() const { return Value(0); }
  __device__ __forceinline__ Value merge(Value a, Value b) const { return cuda::add(a, b); }
  __device__ __forceinline__ void store(const ReduceTarget& to, int64_t output, Value v,
                                        int64_t count) const {
    char* out = static_cast<char*>(to.out) + output * to.bytes;
    if (to.kind == ReduceKind::kMean) {
      store_any<double>(out, to.dtype, static_cast<double>(v) / static_cast<double>(count));
    } else {
      store_any<Value>(out, to.dtype, v);
    }
  }
};

}  // namespace

void reduce_sum(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                Stream& stream) {
  with_elements(args, [&](auto elements) {
    using L = typename LaneOfElements<decltype(elements)>::type;
    if (args.kind == ReduceKind::kSumSquares) {
      launch_reduce(SumOp<L, true>{}, elements, shape, target, stream);
    } else {
      launch_reduce(SumOp<L, false>{}, elements, shape, target, stream);
    }
  });
}

}  // namespace weft::cuda
