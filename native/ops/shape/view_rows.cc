// Rows of the views: boxed forwards and gradient formulas. A part of a tensor (select, narrow,
// slice) sends its gradient into zeros of the whole, all parts of a tensor (unbind, split) theirs
// to their places in one buffer; the others just show the gradient in the old shape.
#include <algorithm>

#include "ops/gradient.h"

namespace weft::ops {
namespace {

void shape_back(GradCall& call) { call.set(0, reshape(call.grad(), call.input_shape(0))); }

void transpose_grad(GradCall& call) {
  call.set(0, transpose(call.grad(), call.integer(1), call.integer(2)));
}

void permute_grad(GradCall& call) {
  Dims dims = call.dims(1), inverse = dims;
  for (int d = 0; d < dims.n; ++d) inverse[normalize_dim(dims[d], dims.n, "permute")] = d;
  call.set(0, permute(call.grad(), inverse));
}

void select_grad(GradCall& call) {
  Tensor whole = zeros_for(call, 0);
  copy_(select(whole, call.integer(1), call.integer(2)), call.grad());
  call.set(0, std::move(whole));
}

void narrow_grad(GradCall& call) {
  Tensor whole = zeros_for(call, 0);
  copy_(narrow(whole, call.integer(1), call.integer(2), call.integer(3)), call.grad());
  call.set(0, std::move(whole));
}

/// Parts share one buffer: each gradient is copied to its place, once.
template <typename Part>
Tensor assemble(GradCall& call, int64_t parts, Part part) {
  Tensor whole = empty(call.input_shape(0), call.input_dtype(0), call.input_device(0));
  for (int64_t i = 0; i < parts; ++i) copy_(part(whole, i), call.grad(static_cast<int>(i)));
  return whole;
}

void unbind_forward(OpCall& call) {
  const Tensor& a = call.tensor(0);
  if (a.rank() == 0) fail(ErrorCode::kShape, "unbind: a scalar has no dimension to take apart");
  const int dim = normalize_dim(call.integer(1), a.rank(), "unbind");
  if (a.size(dim) == 0) fail(ErrorCode::kShape, "unbind: dimension %d is empty", dim);
  for (int64_t i = 0; i < a.size(dim); ++i) call.result(select(a, dim, i));
}

void unbind_grad(GradCall& call) {
  const int dim = normalize_dim(call.integer(1), call.input_shape(0).n, "unbind");
  call.set(0, assemble(call, call.input_shape(0)[dim],
                       [dim](const Tensor& whole, int64_t i) { return select(whole, dim, i); }));
}

void split_forward(OpCall& call) {
  const Tensor& a = call.tensor(0);
  const int64_t size = call.integer(2);
  if (a.rank() == 0) fail(ErrorCode::kShape, "split: a scalar has no dimension to take apart");
  if (size < 1) fail(ErrorCode::kUsage, "split: size is %lld and counts from 1", (long long)size);
  const int dim = normalize_dim(call.integer(1), a.rank(), "split");
  if (a.size(dim) == 0) fail(ErrorCode::kShape, "split: dimension %d is empty", dim);
  for (int64_t at = 0; at < a.size(dim); at += size) {
    call.result(narrow(a, dim, at, std::min(size, a.size(dim) - at)));
  }
}

void split_grad(GradCall& call) {
  const int dim = normalize_dim(call.integer(1), call.input_shape(0).n, "split");
  const int64_t size = call.integer(2), whole_size = call.input_shape(0)[dim];
  call.set(0, assemble(call, (whole_size + size - 1) / size, [&](const Tensor& whole, int64_t i) {
             return narrow(whole, dim, i * size, std::min(size, whole_size - i * size));
           }));
}

void slice_grad(GradCall& call) {
  Tensor whole = zeros_for(call, 0);
  copy_(slice(whole, call.integer(1), call.integer(2), call.integer(3), call.integer(4)),
        call.grad());
  call.set(0, std::move(whole));
}

void expand_grad(GradCall& call) { call.set(0, sum_to(call.grad(), call.input_shape(0))); }

}  // namespace

void register_view_ops() {
  implement(Op::view,
            {.forward = [](OpCall& call) { call.result(view(call.tensor(0), call.dims(1))); },
             .gradient = shape_back});
  implement(Op::reshape,
            {.forward = [](OpCall& call) { call.result(reshape(call.tensor(0), call.dims(1))); },
             .gradient = shape_back});
  implement(Op::transpose,
            {.forward =
                 [](OpCall& call) {
                   call.result(transpose(call.tensor(0), call.integer(1), call.integer(2)));
                 },
             .gradient = transpose_grad});
  implement(Op::permute,
            {.forward = [](OpCall& call) { call.result(permute(call.tensor(0), call.dims(1))); },
             .gradient = permute_grad});
  implement(Op::select,
            {.forward =
                 [](OpCall& call) {
                   call.result(select(call.tensor(0), call.integer(1), call.integer(2)));
                 },
             .gradient = select_grad});
  implement(Op::narrow, {.forward =
                             [](OpCall& call) {
                               call.result(narrow(call.tensor(0), call.integer(1), call.integer(2),
                                                  call.integer(3)));
                             },
                         .gradient = narrow_grad});
  implement(Op::slice, {.forward =
                            [](OpCall& call) {
                              call.result(slice(call.tensor(0), call.integer(1), call.integer(2),
                                                call.integer(3), call.integer(4)));
                            },
                        .gradient = slice_grad});
  implement(Op::unbind, {.forward = unbind_forward, .gradient = unbind_grad});
  implement(Op::split, {.forward = split_forward, .gradient = split_grad});
  implement(Op::expand,
            {.forward = [](OpCall& call) { call.result(expand(call.tensor(0), call.dims(1))); },
             .gradient = expand_grad});
  implement(Op::squeeze,
            {.forward = [](OpCall& call) { call.result(squeeze(call.tensor(0), call.dims(1))); },
             .gradient = shape_back});
  implement(
      Op::unsqueeze,
      {.forward = [](OpCall& call) { call.result(unsqueeze(call.tensor(0), call.integer(1))); },
       .gradient = shape_back});
  implement(Op::detach, {.forward = [](OpCall& call) { call.result(detach(call.tensor(0))); }});
}

}  // namespace weft::ops
