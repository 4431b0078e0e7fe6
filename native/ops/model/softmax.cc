// Softmax and its logarithm over any dimension: the dimension is moved to the end, where the
// kernels work row by row. Called by its rows only.
#include "ops/gradient.h"
#include "ops/launch.h"

namespace weft::ops {
namespace {

/// `t` with dimension `dim` last, contiguous.
Tensor as_rows(const Tensor& t, int dim) { return contiguous(transpose(t, dim, -1)); }

Tensor run_rows(const Tensor& in, const Tensor& aux, bool log, const char* name) {
  Tensor out = empty(in.shape(), in.dtype(), in.device());
  if (out.numel() == 0) return out;
  const KernelTable& table = kernels(in.device());
  SoftmaxArgs args{in.dtype(), in.data(), aux.defined() ? aux.data() : nullptr, out.data(), 0,
                   0,          log};
  args.cols = in.size(-1);
  args.rows = in.numel() / args.cols;
  auto run =
      kernel(aux.defined() ? table.softmax_backward : table.softmax_forward, name, in.device());
  run(args, stream_for(out, in, aux));
  return out;
}

template <bool kLog>
void forward(OpCall& call) {
  const Tensor& a = call.tensor(0);
  const char* name = op_name(call.op);
  require_floating(a, name, "the tensor");
  if (a.rank() == 0) {  // one element along a dimension that is only thought of
    call.result(full({}, kLog ? 0 : 1, a.dtype(), a.device()));
    return;
  }
  int dim = normalize_dim(call.integer(1), a.rank(), name);
  if (dim == a.rank() - 1) {
    call.result(run_rows(contiguous(a), {}, kLog, name));
  } else {
    call.result(as_own(transpose(run_rows(as_rows(a, dim), {}, kLog, name), dim, -1)));
  }
}

template <bool kLog>
void gradient(GradCall& call) {
  Tensor out = call.output(0);
  const char* name = kLog ? "log_softmax" : "softmax";
  if (out.rank() == 0) {
    call.set(0, zeros_for(call, 0));
    return;
  }
  int dim = normalize_dim(call.integer(1), out.rank(), name);
  Tensor rows = run_rows(as_rows(call.grad(), dim), as_rows(out, dim), kLog, name);
  call.set(0, transpose(rows, dim, -1));
}

}  // namespace

void register_softmax_ops() {
  implement(Op::softmax,
            {.forward = forward<false>, .gradient = gradient<false>, .keep_outputs = 0b1});
  implement(Op::log_softmax,
            {.forward = forward<true>, .gradient = gradient<true>, .keep_outputs = 0b1});
}

}  // namespace weft::ops
