// Variances on CUDA in one pass: sums of x - p and (x - p)^2 in f64, where p is the first element
// of the run (Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance": shifted
// data). Called by reduce().
#include "cuda/reduce/kinds.h"
#include "cuda/reduce/reduce.cuh"

namespace weft::cuda {
namespace {

struct Sums {
  double sum, squares;
};
struct ShiftedSums {
  double pivot;
  Sums sums;
};

struct VarianceOp {
  using Lane = double;
  using Thread = ShiftedSums;
  using Value = Sums;

  __device__ __forceinline__ Value start() const { return {0, 0}; }
  __device__ __forceinline__ Thread begin(double pivot) const { return {pivot, {0, 0}}; }
  __device__ __forceinline__ void add(Thread& t, double x, int64_t) const {
    const double d = x - t.pivot;
    t.sums.sum += d;
    t.sums.squares += d * d;
  }
  __device__ __forceinline__ Value value(const Thread& t) const { return t.sums; }
  __device__ __forceinline__ Value merge(Value a, Value b) const {
    return {a.sum + b.sum, a.squares + b.squares};
  }
  __device__ __forceinline__ void store(const ReduceTarget& to, int64_t output, Value v,
                                        int64_t count) const {
    const auto n = static_cast<double>(count);
    double spread = v.squares - v.sum * v.sum / n;
    if (spread < 0) spread = 0;  // by rounding; NaN stays
    const double divisor = n - to.correction;
    store_any<double>(static_cast<char*>(to.out) + output * to.bytes, to.dtype,
                      spread / (divisor > 0 ? divisor : 0));
  }
};

}  // namespace

void reduce_variance(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                     Stream& stream) {
  with_elements(
      args, [&](auto elements) { launch_reduce(VarianceOp{}, elements, shape, target, stream); });
}

}  // namespace weft::cuda
