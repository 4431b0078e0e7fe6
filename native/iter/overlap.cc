// See overlap.h. An element of `a` and one of `b` share a byte when
//   a.offset + sum(i_k * s_k) - b.offset - sum(j_k * t_k)   lies in (-width_a, width_b)
// for some indices: a bounded linear equation. Dimensions of equal stride are one variable; the
// variables are tried from the largest stride down, each in the few values that the smaller ones
// can still balance, which ends at once for the layouts that slicing makes.
#include "iter/overlap.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace weft {
namespace {

/// One variable of the equation: stride * v with v in [low, high], stride > 0.
struct Term {
  int64_t stride, low, high;
};

struct Equation {
  Term terms[2 * kMaxDims];
  int count = 0;
  int64_t reach_low[2 * kMaxDims + 1], reach_high[2 * kMaxDims + 1];  // of terms i and later
  int64_t divisor[2 * kMaxDims + 1];                                  // of their strides
  int budget = 10'000;                                                // values still tried

  void add(int64_t stride, int64_t low, int64_t high) {
    if (stride == 0 || (low == 0 && high == 0)) return;
    if (stride < 0) {
      stride = -stride;
      std::swap(low, high);
      low = -low;
      high = -high;
    }
    for (int i = 0; i < count; ++i) {
      if (terms[i].stride != stride) continue;
      terms[i].low += low;
      terms[i].high += high;
      return;
    }
    terms[count++] = {stride, low, high};
  }

  void prepare() {
    std::sort(terms, terms + count,
              [](const Term& a, const Term& b) { return a.stride > b.stride; });
    reach_low[count] = reach_high[count] = divisor[count] = 0;
    for (int i = count; i-- > 0;) {
      reach_low[i] = reach_low[i + 1] + terms[i].stride * terms[i].low;
      reach_high[i] = reach_high[i + 1] + terms[i].stride * terms[i].high;
      divisor[i] = std::gcd(divisor[i + 1], terms[i].stride);
    }
  }

  /// Can terms `at` and later sum to a value in [first, last]? True as well when the budget ends.
  bool solvable(int at, int64_t first, int64_t last) {
    first = std::max(first, reach_low[at]);
    last = std::min(last, reach_high[at]);
    if (first > last) return false;
    if (at == count) return true;      // 0 is in the range
    const int64_t step = divisor[at];  // a sum is a multiple of it
    if (floor_div(last, step) * step < first) return false;
    const Term& term = terms[at];
    const int64_t low = std::max(term.low, ceil_div(first - reach_high[at + 1], term.stride));
    const int64_t high = std::min(term.high, floor_div(last - reach_low[at + 1], term.stride));
    for (int64_t v = low; v <= high; ++v) {
      if (--budget < 0) return true;
      if (solvable(at + 1, first - v * term.stride, last - v * term.stride)) return true;
    }
    return false;
  }

  static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && a < 0); }
  static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0 && a > 0); }
};

/// Dimensions of size 1 step nowhere, whatever their stride.
bool same_layout(const Tensor& a, const Tensor& b) {
  if (a->offset != b->offset || a.dtype() != b.dtype() || !(a.shape() == b.shape())) return false;
  for (int d = 0; d < a.rank(); ++d) {
    if (a.shape()[d] != 1 && a.strides()[d] != b.strides()[d]) return false;
  }
  return true;
}

}  // namespace

Overlap overlap(const Tensor& a, const Tensor& b) {
  if (!(a->storage == b->storage) || a.numel() == 0 || b.numel() == 0) return Overlap::kNone;
  if (same_layout(a, b)) return Overlap::kExact;
  const auto width_a = static_cast<int64_t>(dtype_bytes(a.dtype()));
  const auto width_b = static_cast<int64_t>(dtype_bytes(b.dtype()));
  Equation equation;
  for (int d = 0; d < a.rank(); ++d) {
    equation.add(a.strides()[d] * width_a, 0, a.shape()[d] - 1);
  }
  for (int d = 0; d < b.rank(); ++d) {
    equation.add(b.strides()[d] * width_b, -(b.shape()[d] - 1), 0);
  }
  equation.prepare();
  const int64_t apart = b->offset * width_b - a->offset * width_a;
  return equation.solvable(0, apart - width_a + 1, apart + width_b - 1) ? Overlap::kPartial
                                                                        : Overlap::kNone;
}

}  // namespace weft
