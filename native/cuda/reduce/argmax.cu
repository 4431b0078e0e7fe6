// Position of the largest element on CUDA: NaN counts as the largest, of equals the first wins.
// Called by reduce().
#include "cuda/reduce/kinds.h"
#include "cuda/reduce/reduce.cuh"

namespace weft::cuda {
namespace {

template <typename L>
struct Candidate {
  L value;
  int64_t index;  ///< -1: none yet
};

template <typename L>
struct ArgMaxOp {
  using Lane = L;
  using Thread = Candidate<L>;
  using Value = Candidate<L>;

  __device__ __forceinline__ Value start() const { return {L(0), -1}; }
  __device__ __forceinline__ Thread begin(L) const { return start(); }
  __device__ __forceinline__ void add(Thread& t, L x, int64_t index) const {
    t = merge(t, {x, index});
  }
  __device__ __forceinline__ Value value(Thread t) const { return t; }
  __device__ __forceinline__ Value merge(Value a, Value b) const {
    if (b.index < 0) return a;
    if (a.index < 0) return b;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool equal = a.value == b.value || (a_nan && b_nan);
    const bool second = equal ? b.index < a.index : b_nan || (!a_nan && b.value > a.value);
    return second ? b : a;
  }
  __device__ __forceinline__ void store(const ReduceTarget& to, int64_t output, Value v,
                                        int64_t) const {
    static_cast<int64_t*>(to.out)[output] = v.index < 0 ? 0 : v.index;
  }
};

}  // namespace

void reduce_argmax(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                   Stream& stream) {
  with_elements(args, [&](auto elements) {
    using L = typename LaneOfElements<decltype(elements)>::type;
    launch_reduce(ArgMaxOp<L>{}, elements, shape, target, stream);
  });
}

}  // namespace weft::cuda
