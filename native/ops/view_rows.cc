// Rows of the views: boxed forwards and gradient formulas. A part of a tensor (select, narrow,
// slice) sends its gradient into zeros of the whole; the others just show the gradient in the old
// shape.
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
