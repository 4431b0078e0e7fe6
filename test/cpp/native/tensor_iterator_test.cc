// TensorIterator: merging, order, broadcast and overlap checks.
#include "iter/tensor_iterator.h"

#include <gtest/gtest.h>

#include <vector>

#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

Tensor make(const Dims& shape) { return empty(shape, DType::kF32, fabric::open_device("host:0")); }

TEST(TensorIterator, ContiguousTensorsBecomeOneDimension) {
  Tensor out = make({2, 3, 4}), a = make({2, 3, 4});
  auto it = TensorIterator::build({&out, &a}, "test");
  EXPECT_TRUE(it.contiguous);
  EXPECT_EQ(it.ndim, 1);
  EXPECT_EQ(it.shape[0], 24);
}

TEST(TensorIterator, TwoTensorsTransposedAlikeBecomeOneDimension) {
  Tensor a = ops::transpose(make({5, 7}), 0, 1), out = ops::transpose(make({5, 7}), 0, 1);
  auto it = TensorIterator::build({&out, &a}, "test");
  EXPECT_TRUE(it.contiguous);
  EXPECT_EQ(it.shape[0], 35);
}

TEST(TensorIterator, TheFastestDimensionIsTheOutputsUnitStride) {
  Tensor out = make({5, 7}), a = ops::transpose(make({7, 5}), 0, 1);
  auto it = TensorIterator::build({&out, &a}, "test");
  ASSERT_EQ(it.ndim, 2);
  EXPECT_EQ(it.shape[0], 7);
  EXPECT_EQ(it.operand[0].strides[0], 4);
  EXPECT_EQ(it.operand[1].strides[0], 5 * 4);
}

TEST(TensorIterator, ABroadcastOperandHasStrideZero) {
  Tensor out = make({3, 4}), row = make({4}), column = make({3, 1});
  auto it = TensorIterator::build({&out, &row, &column}, "test");
  ASSERT_EQ(it.ndim, 2);
  EXPECT_EQ(it.operand[1].strides[1], 0);
  EXPECT_EQ(it.operand[2].strides[0], 0);
  EXPECT_FALSE(it.contiguous);
}

TEST(TensorIterator, DimensionsOfSizeOneDisappear) {
  Tensor out = make({1, 6, 1, 5}), a = make({1, 6, 1, 5});
  auto it = TensorIterator::build({&out, &a}, "test");
  EXPECT_EQ(it.ndim, 1);
  Tensor one = make({1, 1}), b = make({1, 1});
  EXPECT_EQ(TensorIterator::build({&one, &b}, "test").ndim, 0);
}

TEST(TensorIterator, AnExpandedOutputIsRefused) {
  Tensor out = ops::expand(make({1, 4}), {3, 4}), a = make({3, 4});
  EXPECT_THROW(TensorIterator::build({&out, &a}, "test"), Error);
}

TEST(TensorIterator, PartialOverlapIsRefusedAndExactAliasIsNot) {
  Tensor base = make({10});
  Tensor low = ops::narrow(base, 0, 0, 6), high = ops::narrow(base, 0, 3, 6);
  EXPECT_THROW(TensorIterator::build({&low, &high}, "test"), Error);
  Tensor again = ops::narrow(base, 0, 0, 6);
  EXPECT_NO_THROW(TensorIterator::build({&low, &again}, "test"));
  Tensor left = ops::narrow(base, 0, 0, 5), right = ops::narrow(base, 0, 5, 5);
  EXPECT_NO_THROW(TensorIterator::build({&left, &right}, "test"));
}

bool refused(const Tensor& out, const Tensor& in) {
  try {
    TensorIterator::build({&out, &in}, "test");
    return false;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUsage);
    return true;
  }
}

TEST(TensorIterator, InterleavedSlicesThatShareNoElementAreNotRefused) {
  Tensor line = make({12});
  Tensor even = ops::slice(line, 0, 0, 12, 2), odd = ops::slice(line, 0, 1, 12, 2);
  EXPECT_FALSE(refused(even, odd));
  EXPECT_FALSE(refused(odd, even));
  Tensor grid = make({4, 6});
  Tensor left = ops::narrow(grid, 1, 0, 3), right = ops::narrow(grid, 1, 3, 3);
  EXPECT_FALSE(refused(left, right));
  Tensor column = ops::select(grid, 1, 2), other = ops::select(grid, 1, 4);
  EXPECT_FALSE(refused(column, other));
  EXPECT_FALSE(refused(ops::transpose(left, 0, 1), ops::transpose(right, 0, 1)));
}

TEST(TensorIterator, InterleavedSlicesThatMeetAreRefused) {
  Tensor line = make({13});
  Tensor even = ops::slice(line, 0, 0, 12, 2), third = ops::slice(line, 0, 3, 13, 2);
  EXPECT_FALSE(refused(ops::narrow(even, 0, 0, 5), third));
  EXPECT_TRUE(refused(even, ops::slice(line, 0, 2, 13, 2)));  // one place on
  EXPECT_TRUE(refused(ops::slice(line, 0, 0, 12, 3), ops::slice(line, 0, 1, 9, 2)));  // at 3
  Tensor grid = make({4, 6});
  EXPECT_TRUE(refused(ops::narrow(grid, 1, 0, 3), ops::narrow(grid, 1, 2, 3)));
  EXPECT_TRUE(refused(make_view(grid, {4, 4}, {6, 1}, 0), make_view(grid, {4, 4}, {1, 6}, 0)));
}

// Every pair of small strided views, against the sets of the elements they touch.
TEST(TensorIterator, OverlapIsWhatTheElementsSay) {
  Tensor line = make({60});
  std::vector<Tensor> views;
  for (int64_t offset : {0, 1, 3, 6}) {
    for (int64_t rows : {2, 3}) {
      for (int64_t step : {4, 5, 7}) {
        for (int64_t inner : {1, 2, 3}) {
          views.push_back(make_view(line, {rows, 3}, {step * inner, inner}, offset));
          views.push_back(make_view(line, {rows, 3}, {-step, inner}, offset + 2 * step));
        }
      }
    }
  }
  auto elements = [](const Tensor& t) {
    std::vector<char> touched(60, 0);
    for (int64_t i = 0; i < t.size(0); ++i) {
      for (int64_t j = 0; j < t.size(1); ++j) {
        touched[static_cast<size_t>(t->offset + i * t.strides()[0] + j * t.strides()[1])] = 1;
      }
    }
    return touched;
  };
  int meeting = 0, apart = 0;
  for (const Tensor& a : views) {
    for (const Tensor& b : views) {
      if (!(a.shape() == b.shape())) continue;
      if (a->offset == b->offset && a.strides() == b.strides()) continue;
      const auto left = elements(a), right = elements(b);
      bool meet = false;
      for (size_t i = 0; i < left.size(); ++i) meet = meet || (left[i] && right[i]);
      ASSERT_EQ(refused(a, b), meet) << to_string(a.strides()) << " at " << a->offset << ", "
                                     << to_string(b.strides()) << " at " << b->offset;
      ++(meet ? meeting : apart);
    }
  }
  EXPECT_GT(meeting, 100);
  EXPECT_GT(apart, 100);
}

TEST(TensorIterator, ShapesThatDoNotBroadcastAreAShapeError) {
  Tensor out = make({3, 4}), a = make({3});
  try {
    TensorIterator::build({&out, &a}, "add");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kShape);
    EXPECT_NE(e.message().find("add"), std::string::npos);
  }
}

TEST(Promotion, FollowsTheLattice) {
  EXPECT_EQ(promote(DType::kF16, DType::kBF16), DType::kF32);
  EXPECT_EQ(promote(DType::kI64, DType::kF16), DType::kF16);
  EXPECT_EQ(promote(DType::kU8, DType::kI32), DType::kI32);
  EXPECT_EQ(promote(DType::kBool, DType::kU8), DType::kU8);
  EXPECT_EQ(promote(DType::kF32, DType::kF64), DType::kF64);
  EXPECT_EQ(promote_scalar(DType::kI32, 2), DType::kI32);
  EXPECT_EQ(promote_scalar(DType::kI32, 2.5), DType::kF32);
  EXPECT_EQ(promote_scalar(DType::kBF16, 2.5), DType::kBF16);
}

}  // namespace
}  // namespace weft
