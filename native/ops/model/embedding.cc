// Rows of a weight chosen by indices, and gather along a dimension. Indices are checked by the
// kernels while they run; the next call that waits for the device reports one out of range.
#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

EmbeddingArgs embedding_args(const Tensor& indices, const Dims& weight_shape, DType dtype) {
  EmbeddingArgs args{};
  args.dtype = dtype;
  args.indices = indices.data_as<int64_t>();
  args.count = indices.numel();
  args.vocabulary = weight_shape[0];
  args.width = weight_shape[1];
  args.device = indices.device().index();
  return args;
}

void embedding_forward(OpCall& call) {
  const Tensor& given = call.tensor(0);
  if (given.rank() != 2) [[unlikely]] {
    fail(ErrorCode::kShape, "embedding: weight %s must have the shape (vocabulary, width)",
         to_string(given.shape()).c_str());
  }
  Tensor indices = contiguous(index_tensor(call.tensor(1), "embedding", "indices"));
  Tensor weight = contiguous(given);
  Dims shape = indices.shape();
  shape.push(weight.size(1));
  Tensor out = empty(shape, weight.dtype(), weight.device());
  if (out.numel() > 0) {
    EmbeddingArgs args = embedding_args(indices, weight.shape(), weight.dtype());
    args.weight = weight.data();
    args.out = out.data();
    auto run = kernel(kernels(out.device()).embedding_forward, "embedding", out.device());
    run(args, stream_for(out, weight, indices));
  }
  call.result(std::move(out));
}

void embedding_gradient(GradCall& call) {
  const Dims& shape = call.input_shape(0);
  Tensor indices = contiguous(index_tensor(call.input(1), "embedding", "indices"));
  Tensor g = contiguous(call.grad());
  if (g.numel() == 0) {
    call.set(0, zeros_for(call, 0));
    return;
  }
  Tensor out = empty(shape, call.input_dtype(0), g.device());
  EmbeddingArgs args = embedding_args(indices, shape, g.dtype());
  args.grad_out = g.data();
  args.grad_weight = out.data();
  auto run = kernel(kernels(g.device()).embedding_backward, "embedding", g.device());
  run(args, stream_for(out, indices, g));
  call.set(0, std::move(out));
}

/// Sizes before, along and after `dim`, as the gather kernels count them.
GatherArgs gather_args(const Dims& shape, const Tensor& index, int dim, DType dtype) {
  GatherArgs args{};
  args.dtype = dtype;
  args.index = index.data_as<int64_t>();
  args.outer = args.inner = 1;
  for (int d = 0; d < dim; ++d) args.outer *= shape[d];
  for (int d = dim + 1; d < shape.n; ++d) args.inner *= shape[d];
  args.bound = shape[dim];
  args.count = index.size(dim);
  args.device = index.device().index();
  return args;
}

void gather_forward(OpCall& call) {
  const Tensor& given = call.tensor(0);
  const Tensor& given_index = call.tensor(2);
  const int dim = normalize_dim(call.integer(1), given.rank(), "gather");
  bool agree = given.rank() == given_index.rank();
  for (int d = 0; agree && d < given.rank(); ++d) {
    agree = d == dim || given.size(d) == given_index.size(d);
  }
  if (!agree) [[unlikely]] {
    fail(ErrorCode::kShape,
         "gather: index %s must have the sizes of the tensor %s but for dimension %d",
         to_string(given_index.shape()).c_str(), to_string(given.shape()).c_str(), dim);
  }
  Tensor index = contiguous(index_tensor(given_index, "gather", "index"));
  Tensor a = contiguous(given);
  Tensor out = empty(index.shape(), a.dtype(), a.device());
  if (out.numel() > 0) {
    GatherArgs args = gather_args(a.shape(), index, dim, a.dtype());
    args.in = a.data();
    args.out = out.data();
    auto run = kernel(kernels(a.device()).gather_forward, "gather", a.device());
    run(args, stream_for(out, a, index));
  }
  call.result(std::move(out));
}

void gather_gradient(GradCall& call) {
  const Dims& shape = call.input_shape(0);
  Tensor index = contiguous(index_tensor(call.input(1), "gather", "index"));
  Tensor g = contiguous(call.grad());
  if (g.numel() == 0) {
    call.set(0, zeros_for(call, 0));
    return;
  }
  Tensor out = empty(shape, g.dtype(), g.device());
  const int dim = normalize_dim(call.integer(1), shape.n, "gather");
  GatherArgs args = gather_args(shape, index, dim, g.dtype());
  args.grad_out = g.data();
  args.grad_in = out.data();
  auto run = kernel(kernels(g.device()).gather_backward, "gather", g.device());
  run(args, stream_for(out, index, g));
  call.set(0, std::move(out));
}

}  // namespace

void register_embedding_ops() {
  implement(Op::embedding,
            {.forward = embedding_forward, .gradient = embedding_gradient, .keep_inputs = 0b10});
  // gather(a, dim, index): the second flattened tensor is the index.
  implement(Op::gather,
            {.forward = gather_forward, .gradient = gather_gradient, .keep_inputs = 0b10});
  register_dropout_ops();
}

}  // namespace weft::ops
