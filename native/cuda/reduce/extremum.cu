// Maxima and minima on CUDA; NaN passes on. Called by reduce().
#include "cuda/reduce/kinds.h"
#include "cuda/reduce/reduce.cuh"

namespace weft::cuda {
namespace {

template <typename L, bool kMax>
struct ExtremumOp {
  using Lane = L;
  using Thread = L;
  using Value = L;

  __device__ __forceinline__ Value start() const {
    if constexpr (std::is_integral_v<L>) {
      return kMax ? kLeast<L> : kMost<L>;
    } else {
      return kMax ? -kInfinity<L> : kInfinity<L>;
    }
  }
  __device__ __forceinline__ Thread begin(L) const { return start(); }
  __device__ __forceinline__ void add(Thread& t, L x, int64_t) const { t = merge(t, x); }
  __device__ __forceinline__ Value value(Thread t) const { return t; }
  __device__ __forceinline__ Value merge(Value a, Value b) const {
    return kMax ? maximum(a, b) : minimum(a, b);
  }
  __device__ __forceinline__ void store(const ReduceTarget& to, int64_t output, Value v,
                                        int64_t) const {
    store_any<Value>(static_cast<char*>(to.out) + output * to.bytes, to.dtype, v);
  }
};

}  // namespace

void reduce_extremum(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                     Stream& stream) {
  with_elements(args, [&](auto elements) {
    using L = typename LaneOfElements<decltype(elements)>::type;
    if (args.kind == ReduceKind::kMax) {
      launch_reduce(ExtremumOp<L, true>{}, elements, shape, target, stream);
    } else {
      launch_reduce(ExtremumOp<L, false>{}, elements, shape, target, stream);
    }
  });
}

}  // namespace weft::cuda
