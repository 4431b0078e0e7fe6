// Shapes and dimension lists: arithmetic and the messages users see. Called by every operator.
#include "core/dims.h"

#include <limits>

#include "fabric/error.h"

namespace weft {

using fabric::ErrorCode;
using fabric::fail;

void Dims::push(int64_t x) {
  if (n == kMaxDims) fail(ErrorCode::kShape, "a tensor has at most %d dimensions", kMaxDims);
  v[n++] = x;
}

void Dims::insert(int at, int64_t x) {
  if (n == kMaxDims) fail(ErrorCode::kShape, "a tensor has at most %d dimensions", kMaxDims);
  for (int i = n; i > at; --i) v[i] = v[i - 1];
  v[at] = x;
  ++n;
}

void Dims::erase(int at) {
  for (int i = at; i + 1 < n; ++i) v[i] = v[i + 1];
  --n;
}

std::string to_string(const Dims& dims) {
  std::string text = "(";
  for (int i = 0; i < dims.n; ++i) {
    if (i) text += ", ";
    text += std::to_string(dims.v[i]);
  }
  return text + (dims.n == 1 ? ",)" : ")");
}

int64_t element_count(const Dims& shape) {
  constexpr int64_t kMost = int64_t{1} << 53;  // the integers that JavaScript numbers hold exactly
  int64_t count = 1;
  bool zero = false;
  for (int64_t size : shape) {
    if (size < 0) fail(ErrorCode::kShape, "negative size in shape %s", to_string(shape).c_str());
    if (size == 0) {
      zero = true;
      continue;
    }
    if (__builtin_mul_overflow(count, size, &count) || count > kMost) {
      fail(ErrorCode::kShape, "shape %s has more elements than fit in 2^53",
           to_string(shape).c_str());
    }
  }
  return zero ? 0 : count;
}

Dims contiguous_strides(const Dims& shape) {
  Dims strides;
  strides.n = shape.n;
  int64_t step = 1;
  for (int i = shape.n - 1; i >= 0; --i) {
    strides.v[i] = step;
    step *= shape.v[i] > 0 ? shape.v[i] : 1;
  }
  return strides;
}

Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op) {
  const Dims& longer = a.n >= b.n ? a : b;
  const Dims& shorter = a.n >= b.n ? b : a;
  Dims out = longer;
  int shift = longer.n - shorter.n;
  for (int i = 0; i < shorter.n; ++i) {
    int64_t x = longer.v[i + shift], y = shorter.v[i];
    if (x != y && x != 1 && y != 1) {
      fail(ErrorCode::kShape, "%s: shapes %s and %s do not broadcast: sizes %lld and %lld differ",
           op, to_string(a).c_str(), to_string(b).c_str(), static_cast<long long>(x),
           static_cast<long long>(y));
    }
    out.v[i + shift] = x == 1 ? y : x;
  }
  return out;
}

bool broadcastable_to(const Dims& from, const Dims& to) {
  if (from.n > to.n) return false;
  int shift = to.n - from.n;
  for (int i = 0; i < from.n; ++i) {
    if (from.v[i] != 1 && from.v[i] != to.v[i + shift]) return false;
  }
  return true;
}

int normalize_dim(int64_t dim, int rank, const char* op) {
  int64_t span = rank > 0 ? rank : 1;
  if (dim < -span || dim >= span) {
    fail(ErrorCode::kShape, "%s: dimension %lld is out of range for a tensor of %d dimensions", op,
         static_cast<long long>(dim), rank);
  }
  return static_cast<int>(dim < 0 ? dim + span : dim);
}

}  // namespace weft
