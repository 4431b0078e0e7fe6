// TensorIterator: merging, order, broadcast and overlap checks.
#include "iter/tensor_iterator.h"

#include <gtest/gtest.h>

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
