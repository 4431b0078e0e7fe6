// Reductions over chosen dimensions: sum, mean, extremes, argmax, variance. Describes the loop once
// (kept and reduced dimensions, merged) and launches; rows and formulas are in reduction_rows.cc.
#include "ops/reduce/reduction.h"

#include <limits>

#include "ops/launch.h"
#include "ops/ops.h"

namespace weft::ops {

uint32_t reduced_mask(const Dims& dims, int rank, const char* name) {
  if (dims.empty()) return (1u << rank) - 1;
  uint32_t mask = 0;
  for (int64_t dim : dims) {
    uint32_t bit = 1u << normalize_dim(dim, rank, name);
    if (mask & bit) [[unlikely]] {
      fail(ErrorCode::kUsage, "%s: dimension %lld appears twice in %s", name, (long long)dim,
           to_string(dims).c_str());
    }
    mask |= bit;
  }
  return mask;
}

Dims reduced_shape(const Dims& shape, uint32_t mask, bool keep_dim) {
  Dims out;
  for (int d = 0; d < shape.n; ++d) {
    if (!(mask >> d & 1)) {
      out.push(shape[d]);
    } else if (keep_dim) {
      out.push(1);
    }
  }
  return out;
}

namespace {

DType result_dtype(ReduceKind kind, DType in, const char* name) {
  switch (kind) {
    case ReduceKind::kSum:
      return is_floating(in) ? in : DType::kI64;
    case ReduceKind::kArgMax:
      return DType::kI64;
    case ReduceKind::kMax:
    case ReduceKind::kMin:
      return in;
    default:
      if (!is_floating(in)) [[unlikely]] {
        fail(ErrorCode::kDtype, "%s: dtype %s has no fractions; convert to a floating dtype first",
             name, dtype_name(in));
      }
      return in;
  }
}

// Appends a dimension (called from the fastest on), merged with the one before where memory allows.
void append(int64_t size, int64_t stride, int& n, int64_t* shape, int64_t* strides) {
  if (size == 1) return;
  if (n > 0 && stride == strides[n - 1] * shape[n - 1]) {
    shape[n - 1] *= size;
    return;
  }
  shape[n] = size;
  strides[n++] = stride;
}

double value_over_nothing(ReduceKind kind, const Tensor& a, const char* name) {
  switch (kind) {
    case ReduceKind::kSum:
    case ReduceKind::kSumSquares:
      return 0;
    case ReduceKind::kMean:
    case ReduceKind::kVar:
      return std::numeric_limits<double>::quiet_NaN();
    default:
      fail(ErrorCode::kShape, "%s: shape %s has no elements to choose from", name,
           to_string(a.shape()).c_str());
  }
}

}  // namespace

Tensor reduce(ReduceKind kind, const Tensor& a, const Dims& dims, bool keep_dim, const char* name,
              double correction) {
  if (kind == ReduceKind::kArgMax && dims.n > 1) [[unlikely]] {
    fail(ErrorCode::kUsage, "%s: %d dimensions given; give one, or none for the flattened index",
         name, dims.n);
  }
  DType out_dtype = result_dtype(kind, a.dtype(), name);
  uint32_t mask = reduced_mask(dims, a.rank(), name);
  ReduceArgs args{kind, nullptr, nullptr, a.dtype(), out_dtype};
  args.correction = correction;
  for (int d = a.rank() - 1; d >= 0; --d) {
    if (mask >> d & 1) {
      args.reduced_count *= a.size(d);
      append(a.size(d), a.strides()[d], args.reduced_dims, args.reduced_shape,
             args.reduced_strides);
    } else {
      args.kept_count *= a.size(d);
      append(a.size(d), a.strides()[d], args.kept_dims, args.kept_shape, args.kept_strides);
    }
  }
  Dims shape = reduced_shape(a.shape(), mask, keep_dim);
  if (args.reduced_count == 0) {
    return full(shape, value_over_nothing(kind, a, name), out_dtype, a.device());
  }
  Tensor out = empty(shape, out_dtype, a.device());
  if (args.kept_count == 0) return out;
  auto run = kernel(kernels(a.device()).reduce, name, a.device());
  args.in = a.data();
  args.out = out.data();
  run(args, stream_for(out, a));
  return out;
}

Tensor sum(const Tensor& a, const Dims& dims, bool keep_dim) {
  return reduce(ReduceKind::kSum, a, dims, keep_dim, "sum");
}

Tensor sum_to(const Tensor& t, const Dims& shape) {
  if (t.shape() == shape) return t;
  if (!broadcastable_to(shape, t.shape())) {
    fail(ErrorCode::kShape, "sum_to: shape %s does not come from %s by broadcasting",
         to_string(t.shape()).c_str(), to_string(shape).c_str());
  }
  const int added = t.rank() - shape.n;
  Dims dims;
  for (int d = 0; d < t.rank(); ++d) {
    if (d < added || (shape[d - added] == 1 && t.size(d) != 1)) dims.push(d);
  }
  if (t.numel() == element_count(shape)) return reshape(t, shape);  // only ones were added
  return as_own(view(sum(t, dims, true), shape));
}

}  // namespace weft::ops
