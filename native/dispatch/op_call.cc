// Building and reading the arguments of one operator call.
#include "dispatch/op_table.h"
#include "fabric/fabric.h"

namespace weft {
namespace {

[[noreturn]] void wrong_argument(Op op, int position) {
  fail(ErrorCode::kUsage, "argument %d does not fit %s", position, op_schema(op));
}

}  // namespace

void OpCall::add_tensor(Tensor t) {
  auto kinds = argument_kinds(op);
  if (count_ >= static_cast<int>(kinds.size()) ||
      (kinds[count_] != ArgKind::kTensor && kinds[count_] != ArgKind::kOptionalTensor)) {
    wrong_argument(op, count_);
  }
  if (!t && kinds[count_] == ArgKind::kTensor) {
    fail(ErrorCode::kUsage, "%s: argument %d must be a tensor", op_name(op), count_);
  }
  at[count_] = static_cast<uint16_t>(tensors.size());
  length[count_++] = 1;
  tensors.push_back(std::move(t));
}

void OpCall::add_list(std::span<const Tensor> list) {
  auto kinds = argument_kinds(op);
  if (count_ >= static_cast<int>(kinds.size()) || kinds[count_] != ArgKind::kTensorList) {
    wrong_argument(op, count_);
  }
  at[count_] = static_cast<uint16_t>(tensors.size());
  length[count_++] = static_cast<uint16_t>(list.size());
  for (const Tensor& t : list) tensors.push_back(t);
}

void OpCall::add_number(double v) {
  auto kinds = argument_kinds(op);
  if (count_ >= static_cast<int>(kinds.size()) || kinds[count_] <= ArgKind::kTensorList ||
      kinds[count_] == ArgKind::kInts) {
    wrong_argument(op, count_);
  }
  at[count_] = static_cast<uint16_t>(words.size());
  length[count_++] = 1;
  words.push_back(v);
}

void OpCall::add_dims(const Dims& dims) {
  auto kinds = argument_kinds(op);
  if (count_ >= static_cast<int>(kinds.size()) || kinds[count_] != ArgKind::kInts)
    wrong_argument(op, count_);
  at[count_] = static_cast<uint16_t>(words.size());
  length[count_++] = static_cast<uint16_t>(dims.n);
  for (int64_t d : dims) words.push_back(static_cast<double>(d));
}

Device& OpCall::device(int i) const {
  return fabric::device_at(static_cast<uint16_t>(words[at[i]]));
}

Dims OpCall::dims(int i) const {
  Dims d;
  for (int k = 0; k < length[i]; ++k) d.push(static_cast<int64_t>(words[at[i] + k]));
  return d;
}

Tensor call(Op op, std::initializer_list<OpArg> args) {
  ensure_registered();
  OpCall c(op);
  auto kinds = argument_kinds(op);
  for (const OpArg& arg : args) {
    switch (arg.kind) {
      case OpArg::kT:
        c.add_tensor(arg.tensor);
        break;
      case OpArg::kL:
        c.add_list(arg.list);
        break;
      case OpArg::kN:
        c.add_number(arg.number);
        break;
      case OpArg::kD:
        c.add_dims(arg.dims);
        break;
    }
  }
  if (c.arguments() != static_cast<int>(kinds.size())) {
    fail(ErrorCode::kUsage, "%s takes %zu arguments, %d were given", op_schema(op), kinds.size(),
         c.arguments());
  }
  dispatch(c);
  return c.outputs.empty() ? Tensor() : c.outputs[0];
}

}  // namespace weft
