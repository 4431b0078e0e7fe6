// Builds TensorIterator: checks overlap, orders and merges dimensions. Called by the elementwise,
// reduction and copy operators once a call.
#include "iter/tensor_iterator.h"

#include <algorithm>

#include "iter/overlap.h"

namespace weft {
namespace {

bool overlaps_itself(const Tensor& t) {
  for (int i = 0; i < t.rank(); ++i) {
    if (t.shape()[i] > 1 && t.strides()[i] == 0) return true;
  }
  return false;
}

void check_output(const Tensor& out, const Tensor& in, const char* op) {
  if (!(out->storage == in->storage) || overlap(out, in) != Overlap::kPartial) return;
  fail(ErrorCode::kUsage,
       "%s: the result would be written over memory that an input still reads: clone() one of "
       "them",
       op);
}

}  // namespace

TensorIterator TensorIterator::build(std::initializer_list<const Tensor*> list, const char* op) {
  TensorIterator it;
  const Tensor& out = **list.begin();
  if (overlaps_itself(out)) {
    fail(ErrorCode::kUsage, "%s: cannot write to an expanded tensor, its elements share memory",
         op);
  }
  it.numel = out.numel();
  const Dims& shape = out.shape();
  const int rank = shape.n;
  bool all_dense = true;
  for (const Tensor* t : list) {
    IterOperand& operand = it.operand[it.operands++];
    if (t != &out) check_output(out, *t, op);
    operand.data = t->data();
    operand.dtype = t->dtype();
    all_dense = all_dense && t->is_contiguous() && t->shape() == shape;
  }
  if (all_dense) {  // the usual case: one dimension
    it.contiguous = true;
    it.ndim = it.numel == 1 ? 0 : 1;
    it.shape[0] = it.numel;
    for (int o = 0; o < it.operands; ++o)
      it.operand[o].strides[0] = static_cast<int64_t>(dtype_bytes(it.operand[o].dtype));
    return it;
  }

  IterOperand* next = it.operand;
  for (const Tensor* t : list) {
    IterOperand& operand = *next++;
    auto width = static_cast<int64_t>(dtype_bytes(t->dtype()));
    int shift = rank - t->rank();
    if (shift < 0) {
      fail(ErrorCode::kShape, "%s: shape %s does not broadcast to %s", op,
           to_string(t->shape()).c_str(), to_string(shape).c_str());
    }
    for (int i = 0; i < rank; ++i) {  // our dimension 0 is the tensor's last
      int from = rank - 1 - i - shift;
      int64_t size = from >= 0 ? t->shape()[from] : 1;
      if (size != shape[rank - 1 - i] && size != 1) {
        fail(ErrorCode::kShape, "%s: shape %s does not broadcast to %s", op,
             to_string(t->shape()).c_str(), to_string(shape).c_str());
      }
      operand.strides[i] = size == 1 ? 0 : t->strides()[from] * width;
    }
  }
  // Order: fastest first by the output's stride, then the inputs'; insertion sort, since the usual
  // input is sorted already. A dimension of size 1 goes wherever; it merges away below.
  int order[kMaxDims];
  for (int i = 0; i < rank; ++i) order[i] = i;
  auto slower = [&](int a, int b) {  // true when a must come after b
    for (int o = 0; o < it.operands; ++o) {
      int64_t sa = std::abs(it.operand[o].strides[a]), sb = std::abs(it.operand[o].strides[b]);
      if (sa == 0 || sb == 0 || sa == sb) continue;
      return sa > sb;
    }
    return false;
  };
  for (int i = 1; i < rank; ++i) {
    for (int j = i; j > 0 && slower(order[j - 1], order[j]); --j) std::swap(order[j - 1], order[j]);
  }

  // Merge dimension i into the one before when each operand steps through both as one.
  IterOperand sorted[kMaxOperands];
  int n = 0;
  for (int i = 0; i < rank; ++i) {
    int64_t size = shape[rank - 1 - order[i]];
    if (size == 1) continue;
    bool merge = n > 0;
    for (int o = 0; merge && o < it.operands; ++o) {
      merge = it.operand[o].strides[order[i]] == sorted[o].strides[n - 1] * it.shape[n - 1];
    }
    if (merge) {
      it.shape[n - 1] *= size;
    } else {
      it.shape[n] = size;
      for (int o = 0; o < it.operands; ++o) sorted[o].strides[n] = it.operand[o].strides[order[i]];
      ++n;
    }
  }
  it.ndim = n;
  it.contiguous = n <= 1;
  for (int o = 0; o < it.operands; ++o) {
    for (int i = 0; i < kMaxDims; ++i) it.operand[o].strides[i] = i < n ? sorted[o].strides[i] : 0;
    if (n == 1 &&
        it.operand[o].strides[0] != static_cast<int64_t>(dtype_bytes(it.operand[o].dtype))) {
      it.contiguous = false;
    }
  }
  return it;
}

}  // namespace weft
