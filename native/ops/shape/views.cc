// Views: other shapes over the same memory. Only reshape copies, and only when strides leave no
// choice. Called by the rows (view_rows.cc) and by formulas and forwards of other subjects.
#include <algorithm>

#include "ops/ops.h"

namespace weft::ops {
namespace {

/// `shape` with its -1, if there is one, replaced by what `a` has left for it.
Dims resolve_shape(const Tensor& a, const Dims& shape, const char* name) {
  Dims out = shape;
  int open = -1;
  int64_t known = 1;
  for (int d = 0; d < shape.n; ++d) {
    if (shape[d] == -1 && open < 0) {
      open = d;
    } else if (shape[d] < 0) {
      fail(ErrorCode::kShape, "%s: shape %s has more than one -1 or a negative size", name,
           to_string(shape).c_str());
    } else {
      known *= shape[d];
    }
  }
  if (open >= 0 && known > 0 && a.numel() % known == 0) {
    out[open] = a.numel() / known;
    known *= out[open];
  }
  if (known != a.numel() || (open >= 0 && out[open] < 0)) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: shape %s does not hold the %lld elements of %s", name,
         to_string(shape).c_str(), (long long)a.numel(), to_string(a.shape()).c_str());
  }
  return out;
}

/// Strides that show the memory of `a` as `shape` (of equal element count), if there are any. Walks
/// both shapes from the end, one run of dimensions that `a` steps through evenly at a time.
bool view_strides(const Tensor& a, const Dims& shape, Dims* strides) {
  if (a.is_contiguous()) {
    *strides = contiguous_strides(shape);
    return true;
  }
  const Dims& old = a.shape();
  strides->n = shape.n;
  int at = shape.n - 1;
  int64_t step = a.strides()[old.n - 1], run = 1, covered = 1;
  for (int d = old.n - 1; d >= 0; --d) {
    run *= old[d];
    if (d > 0 && (old[d - 1] == 1 || a.strides()[d - 1] == run * step)) continue;
    while (at >= 0 && (covered < run || shape[at] == 1)) {
      strides->v[at] = covered * step;
      covered *= shape[at--];
    }
    if (covered != run) return false;
    if (d > 0) {
      step = a.strides()[d - 1];
      run = covered = 1;
    }
  }
  return at == -1;
}

int64_t wrap_index(int64_t i, int64_t size) { return i < 0 ? i + size : i; }

void require_dimension(const Tensor& a, const char* name) {
  if (a.rank() == 0) [[unlikely]] {
    fail(ErrorCode::kShape, "%s: the tensor has no dimensions", name);
  }
}

}  // namespace

Tensor view(const Tensor& a, const Dims& shape) {
  Dims resolved = resolve_shape(a, shape, "view"), strides;
  if (!view_strides(a, resolved, &strides)) [[unlikely]] {
    fail(ErrorCode::kShape,
         "view: strides %s of shape %s cannot be seen as %s; use reshape, which copies",
         to_string(a.strides()).c_str(), to_string(a.shape()).c_str(), to_string(resolved).c_str());
  }
  return make_view(a, resolved, strides, a->offset);
}

Tensor reshape(const Tensor& a, const Dims& shape) {
  Dims resolved = resolve_shape(a, shape, "reshape"), strides;
  if (view_strides(a, resolved, &strides)) return make_view(a, resolved, strides, a->offset);
  Tensor copy = empty(resolved, a.dtype(), a.device());
  copy_(view(copy, a.shape()), a);
  return copy;
}

Tensor transpose(const Tensor& a, int64_t dim0, int64_t dim1) {
  int i = normalize_dim(dim0, a.rank(), "transpose"),
      j = normalize_dim(dim1, a.rank(), "transpose");
  Dims shape = a.shape(), strides = a.strides();
  std::swap(shape[i], shape[j]);
  std::swap(strides[i], strides[j]);
  return make_view(a, shape, strides, a->offset);
}

Tensor permute(const Tensor& a, const Dims& dims) {
  if (dims.n != a.rank()) {
    fail(ErrorCode::kShape, "permute: %s names %d dimensions of a tensor with %d",
         to_string(dims).c_str(), dims.n, a.rank());
  }
  uint32_t seen = 0;
  Dims shape, strides;
  for (int64_t dim : dims) {
    int d = normalize_dim(dim, a.rank(), "permute");
    if (seen >> d & 1) {
      fail(ErrorCode::kUsage, "permute: dimension %d appears twice in %s", d,
           to_string(dims).c_str());
    }
    seen |= 1u << d;
    shape.push(a.size(d));
    strides.push(a.strides()[d]);
  }
  return make_view(a, shape, strides, a->offset);
}

Tensor select(const Tensor& a, int64_t dim, int64_t index) {
  require_dimension(a, "select");
  int d = normalize_dim(dim, a.rank(), "select");
  int64_t i = wrap_index(index, a.size(d));
  if (i < 0 || i >= a.size(d)) {
    fail(ErrorCode::kShape, "select: index %lld is out of range for dimension %d of size %lld",
         (long long)index, d, (long long)a.size(d));
  }
  Dims shape = a.shape(), strides = a.strides();
  shape.erase(d);
  strides.erase(d);
  return make_view(a, shape, strides, a->offset + i * a.strides()[d]);
}

Tensor narrow(const Tensor& a, int64_t dim, int64_t start, int64_t length) {
  require_dimension(a, "narrow");
  int d = normalize_dim(dim, a.rank(), "narrow");
  int64_t from = wrap_index(start, a.size(d));
  if (from < 0 || length < 0 || from > a.size(d) - length) {
    fail(ErrorCode::kShape,
         "narrow: start %lld and length %lld reach outside dimension %d of size %lld",
         (long long)start, (long long)length, d, (long long)a.size(d));
  }
  Dims shape = a.shape();
  shape[d] = length;
  return make_view(a, shape, a.strides(), a->offset + from * a.strides()[d]);
}

Tensor slice(const Tensor& a, int64_t dim, int64_t start, int64_t stop, int64_t step) {
  require_dimension(a, "slice");
  int d = normalize_dim(dim, a.rank(), "slice");
  if (step <= 0) fail(ErrorCode::kUsage, "slice: step %lld must be at least 1", (long long)step);
  const int64_t size = a.size(d);
  int64_t from = std::clamp<int64_t>(wrap_index(start, size), 0, size);
  int64_t to = std::clamp<int64_t>(wrap_index(stop, size), from, size);
  Dims shape = a.shape(), strides = a.strides();
  shape[d] = (to - from + step - 1) / step;
  strides[d] *= step;
  return make_view(a, shape, strides, a->offset + from * a.strides()[d]);
}

Tensor expand(const Tensor& a, const Dims& shape) {
  const int added = shape.n - a.rank();
  Dims out = shape, strides = shape;
  bool fits = added >= 0;
  for (int d = 0; fits && d < shape.n; ++d) {
    const int from = d - added;
    if (from >= 0 && shape[d] == -1) out[d] = a.size(from);
    const bool same = from >= 0 && a.size(from) == out[d];
    fits = out[d] >= 0 && (from < 0 || same || a.size(from) == 1);
    strides[d] = same ? a.strides()[from] : 0;
  }
  if (!fits) {
    fail(ErrorCode::kShape,
         "expand: shape %s does not expand to %s; only sizes of 1 and new leading ones do",
         to_string(a.shape()).c_str(), to_string(shape).c_str());
  }
  return make_view(a, out, strides, a->offset);
}

Tensor squeeze(const Tensor& a, const Dims& dims) {
  uint32_t asked = dims.empty() ? ~0u : 0;
  for (int64_t dim : dims) asked |= 1u << normalize_dim(dim, a.rank(), "squeeze");
  Dims shape, strides;
  for (int d = 0; d < a.rank(); ++d) {
    if (a.size(d) == 1 && (asked >> d & 1)) continue;
    shape.push(a.size(d));
    strides.push(a.strides()[d]);
  }
  return make_view(a, shape, strides, a->offset);
}

Tensor unsqueeze(const Tensor& a, int64_t dim) {
  int d = normalize_dim(dim, a.rank() + 1, "unsqueeze");
  Dims shape = a.shape(), strides = a.strides();
  const int64_t step = d < a.rank() ? a.size(d) * a.strides()[d] : 1;
  shape.insert(d, 1);
  strides.insert(d, step);
  return make_view(a, shape, strides, a->offset);
}

}  // namespace weft::ops
