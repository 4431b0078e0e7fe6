// Joining tensors along a dimension, old (cat) or new (stack). Each part is copied, and promoted
// where dtypes differ, into its place; gradients are the same places of the result's gradient. Parts on
// other devices than the result (cat_to) are read where they lie or copied, as copy_ sees fit.
#include "ops/gradient.h"

namespace weft::ops {
namespace {

DType common_dtype(std::span<const Tensor> tensors) {
  DType dtype = tensors[0].dtype();
  for (const Tensor& t : tensors) dtype = promote(dtype, t.dtype());
  return dtype;
}

[[noreturn]] void disagree(const char* name, const Dims& first, const Dims& other, int place) {
  fail(ErrorCode::kShape, "%s: tensor %d has shape %s and tensor 0 has %s; %s", name, place,
       to_string(other).c_str(), to_string(first).c_str(),
       name[0] == 'c' ? "sizes must be equal but along the joined dimension"
                      : "shapes must be equal");
}

void require_some(std::span<const Tensor> tensors, const char* name) {
  if (tensors.empty()) [[unlikely]]
    fail(ErrorCode::kUsage, "%s: the list of tensors is empty", name);
}

}  // namespace

Tensor cat(std::span<const Tensor> tensors, int64_t dim) {
  require_some(tensors, "cat");
  return cat_to(tensors, dim, tensors[0].device());
}

Tensor cat_to(std::span<const Tensor> tensors, int64_t dim, Device& device) {
  require_some(tensors, "cat");
  const Tensor& first = tensors[0];
  if (first.rank() == 0)
    fail(ErrorCode::kShape, "cat: tensors without dimensions cannot be joined; use stack");
  const int d = normalize_dim(dim, first.rank(), "cat");
  Dims shape = first.shape();
  shape[d] = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Dims sizes = tensors[i].shape();
    if (sizes.n != shape.n) disagree("cat", first.shape(), sizes, static_cast<int>(i));
    const int64_t along = sizes[d];
    sizes[d] = shape[d];
    if (!(sizes == shape)) disagree("cat", first.shape(), tensors[i].shape(), static_cast<int>(i));
    shape[d] += along;
  }
  Tensor out = empty(shape, common_dtype(tensors), device);
  int64_t start = 0;
  for (const Tensor& t : tensors) {
    copy_(narrow(out, d, start, t.size(d)), t);
    start += t.size(d);
  }
  return out;
}

Tensor stack(std::span<const Tensor> tensors, int64_t dim) {
  require_some(tensors, "stack");
  const Tensor& first = tensors[0];
  const int d = normalize_dim(dim, first.rank() + 1, "stack");
  for (size_t i = 1; i < tensors.size(); ++i) {
    if (!(tensors[i].shape() == first.shape())) {
      disagree("stack", first.shape(), tensors[i].shape(), static_cast<int>(i));
    }
  }
  Dims shape = first.shape();
  shape.insert(d, static_cast<int64_t>(tensors.size()));
  Tensor out = empty(shape, common_dtype(tensors), first.device());
  for (size_t i = 0; i < tensors.size(); ++i) {
    copy_(select(out, d, static_cast<int64_t>(i)), tensors[i]);
  }
  return out;
}

namespace {

void cat_grad(GradCall& call) {
  const Tensor& g = call.grad();
  const int d = normalize_dim(call.integer(1), g.rank(), "cat");
  int64_t start = 0;
  for (int i = 0; i < call.inputs(); ++i) {
    const int64_t length = call.input_shape(i)[d];
    if (call.needs(i)) give(call, i, to_device(narrow(g, d, start, length), call.input_device(i)));
    start += length;
  }
}

void stack_grad(GradCall& call) {
  const Tensor& g = call.grad();
  const int d = normalize_dim(call.integer(1), g.rank(), "stack");
  for (int i = 0; i < call.inputs(); ++i) {
    if (call.needs(i)) give(call, i, select(g, d, i));
  }
}

}  // namespace

void register_joining_ops() {
  implement(Op::cat,
            {.forward = [](OpCall& call) { call.result(cat(call.list(0), call.integer(1))); },
             .gradient = cat_grad});
  implement(Op::cat_to, {.forward =
                             [](OpCall& call) {
                               call.result(cat_to(call.list(0), call.integer(1), call.device(2)));
                             },
                         .gradient = cat_grad,
                         .policy = DevicePolicy::kAny});
  implement(Op::stack,
            {.forward = [](OpCall& call) { call.result(stack(call.list(0), call.integer(1))); },
             .gradient = stack_grad});
}

}  // namespace weft::ops
