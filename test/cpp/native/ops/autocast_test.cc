// Regions of mixed precision natively: they belong to their thread, keep the casts of weights per
// stream and precision, and end with it.
#include "dispatch/autocast.h"

#include <gtest/gtest.h>

#include <thread>

#include "autograd/leaf.h"
#include "autograd/node.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using autocast::Mode;
using autocast::Region;
using test::host;
using test::make;
using test::values;

Tensor ones(const Dims& shape) {
  ensure_registered();
  return make(shape, DType::kF32, [](int64_t) { return 1.0; });
}
Tensor weight() {
  Tensor t = ones({2, 2});
  set_requires_grad(t, true);
  return t;
}
Tensor product(const Tensor& a, const Tensor& b) { return call(Op::matmul, {a, b}); }
/// The node of the cast that `b` went through into `result`, a product.
const Node* cast_of(const Tensor& result) { return result->autograd->grad_fn->edges[1].node.get(); }

TEST(Autocast, ARegionIsItsThreadsAlone) {
  Tensor a = ones({2, 2});
  Region region(Mode::kBF16);
  std::vector<DType> seen(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      if (i == 0) {
        seen[i] = product(a, a).dtype();
        return;
      }
      Region own(i == 1 ? Mode::kF16 : i == 2 ? Mode::kBF16 : Mode::kOff);
      seen[i] = product(a, a).dtype();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(seen, (std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF32}));
  EXPECT_EQ(product(a, a).dtype(), DType::kBF16);
}

TEST(Autocast, ThreadsShareAWeightAndKeepCastsOfTheirOwn) {
  Tensor w = weight(), a = ones({2, 2});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        Region region(Mode::kBF16);
        Tensor first = product(a, w), second = product(a, w);
        EXPECT_EQ(cast_of(first), cast_of(second));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Autocast, ACastIsKeptForItsStreamAndEndsWithTheOutermostRegion) {
  Tensor w = weight(), a = ones({2, 2});
  Stream& side = host().create_stream();
  const int64_t before = tensor_counts(host()).tensors;
  {
    Region region(Mode::kBF16);
    Tensor here = product(a, w), there;
    {
      Region inner(Mode::kOff);
      EXPECT_EQ(product(a, w).dtype(), DType::kF32);
    }
    EXPECT_EQ(cast_of(product(a, w)), cast_of(here));
    {
      StreamGuard guard(side);
      there = product(a, w);
    }
    EXPECT_NE(cast_of(there), cast_of(here));
    side.synchronize();
  }
  EXPECT_EQ(tensor_counts(host()).tensors, before);
}

/// A region that casts `w` and `other`; what the next one casts ahead.
void cast_once(const Tensor& w, const Tensor& other) {
  Region region(Mode::kBF16);
  product(ones({1, 2}), w);
  product(ones({1, 2}), other);
}

TEST(Autocast, WeightsThatARegionCastAreCastAheadInTheNextAndEndWithIt) {
  Tensor w = weight(), other = weight(), unused = weight();
  const Tensor all[] = {w, other, unused};
  cast_once(w, other);
  const int64_t before = tensor_counts(host()).tensors;
  {
    Region region(Mode::kBF16);
    autocast::cast_ahead(all);
    EXPECT_EQ(tensor_counts(host()).tensors,
              before + 2);  // the region before did not cast `unused`
    autocast::cast_ahead(all);
    EXPECT_EQ(tensor_counts(host()).tensors, before + 2);
    EXPECT_EQ(values(product(ones({1, 2}), w)), (std::vector<double>{2, 2}));
    EXPECT_NE(cast_of(product(ones({1, 2}), w)), nullptr);
    EXPECT_EQ(values(autocast::take_cast(other, DType::kBF16)), (std::vector<double>{1, 1, 1, 1}));
    EXPECT_FALSE(autocast::take_cast(other, DType::kBF16));
  }
  EXPECT_EQ(tensor_counts(host()).tensors, before);
}

TEST(Autocast, ACastAheadOfWhatChangedSinceIsLeft) {
  Tensor w = weight(), other = weight();
  const Tensor all[] = {w, other};
  cast_once(w, other);
  Stream& side = host().create_stream();
  Region region(Mode::kBF16);
  autocast::cast_ahead(all);
  {
    NoGradGuard no_grad;
    call(Op::fill_, {w, 3.0});
  }
  EXPECT_EQ(values(product(ones({1, 2}), w)), (std::vector<double>{6, 6}));
  StreamGuard guard(side);
  EXPECT_FALSE(autocast::take_cast(other, DType::kBF16));
}

TEST(Autocast, AnErrorInACastLeavesNothingKept) {
  Tensor w = weight();
  Region region(Mode::kBF16);
  EXPECT_THROW(product(ones({2, 3}), w), Error);
  EXPECT_EQ(values(product(ones({1, 2}), w)), (std::vector<double>{2, 2}));
}

}  // namespace
}  // namespace weft
