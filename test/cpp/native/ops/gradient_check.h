// Compares an operator's gradient formulas with central differences in f64, on contiguous and on
// transposed inputs. Used by the ops_gradient tests.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "autograd/node.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft::test {

using Tensors = std::vector<Tensor>;
using Function = std::function<Tensor(const Tensors&)>;

struct CheckOptions {
  double step = 1e-6;
  double tolerance = 1e-6;
  double low = -1, high = 1;  ///< inputs lie in this range
};

/// Values no two of which are equal or near 0, so that no formula is tested at a kink.
inline double input_value(int which, int64_t i, const CheckOptions& o) {
  double u = static_cast<double>((i * 7919 + which * 104729 + 31) % 1009) / 1009.0;
  double v = o.low + (o.high - o.low) * u;
  return v >= 0 ? v + 0.01 : v - 0.01;
}

inline Tensor make_leaf(const Dims& shape, int which, bool transpose, const CheckOptions& o) {
  Dims memory = shape;
  transpose = transpose && shape.n >= 2;
  if (transpose) std::swap(memory[shape.n - 1], memory[shape.n - 2]);
  Tensor t = empty(memory, DType::kF64, host());
  if (transpose) t = transposed(t);
  assign(t, [&](int64_t i) { return input_value(which, i, o); });
  set_requires_grad(t, true);
  return t;
}

inline double total(const Tensor& t) {
  double sum = 0;
  int64_t i = 0;
  for (double v : values(t)) sum += v * scattered(i++ + 5, DType::kF64, 1);
  return sum;
}

/// The gradient that every leaf gets when element i of the result is weighted as in total().
inline void expect_gradients(const Function& f, const Tensors& leaves, const CheckOptions& o) {
  Tensor out = f(leaves);
  ASSERT_TRUE(out.requires_grad());
  Tensor weights =
      make(out.shape(), out.dtype(), [](int64_t i) { return scattered(i + 5, DType::kF64, 1); });
  backward({&out, 1}, {&weights, 1});
  NoGradGuard no_grad;
  for (size_t which = 0; which < leaves.size(); ++which) {
    SCOPED_TRACE("input " + std::to_string(which));
    const Tensor& leaf = leaves[which];
    ASSERT_TRUE(leaf->autograd && leaf->autograd->grad);
    ASSERT_EQ(leaf->autograd->grad.shape(), leaf.shape());
    std::vector<double> found = values(leaf->autograd->grad);
    size_t at = 0;
    for_each_element(leaf, [&](char* p) {
      auto* x = reinterpret_cast<double*>(p);
      const double kept = *x;
      *x = kept + o.step;
      const double above = total(f(leaves));
      *x = kept - o.step;
      const double below = total(f(leaves));
      *x = kept;
      const double expected = (above - below) / (2 * o.step);
      EXPECT_TRUE(close(found[at], expected, o.tolerance))
          << "element " << at << ": formula " << found[at] << ", differences " << expected;
      ++at;
    });
  }
}

inline void check_gradient(const std::string& name, const std::vector<Dims>& shapes,
                           const Function& f, const CheckOptions& o = {}) {
  for (bool transpose : {false, true}) {
    SCOPED_TRACE(name + (transpose ? ", transposed inputs" : ""));
    Tensors leaves;
    for (size_t i = 0; i < shapes.size(); ++i) {
      leaves.push_back(make_leaf(shapes[i], static_cast<int>(i), transpose, o));
    }
    expect_gradients(f, leaves, o);
  }
}

}  // namespace weft::test
