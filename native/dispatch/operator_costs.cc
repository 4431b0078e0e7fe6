// See operator_costs.h. An operator that is not named here reads what it is given and writes what it gives; a view
// moves nothing.
#include "dispatch/operator_costs.h"

#include <bit>

namespace weft {
namespace {

uint64_t count_of(const Dims& shape) {
  uint64_t count = 1;
  for (int d = 0; d < shape.n; ++d) count *= static_cast<uint64_t>(shape.v[d]);
  return count;
}

/// Bytes that lie in memory: a dimension that repeats the same elements counts once.
uint64_t bytes_of(const Tensor& t) {
  if (!t) return 0;
  uint64_t count = 1;
  for (int d = 0; d < t.rank(); ++d) {
    if (t.strides().v[d] != 0 || t.size(d) == 0) count *= static_cast<uint64_t>(t.size(d));
  }
  return count * dtype_bytes(t.dtype());
}

uint64_t bytes_of(std::span<const Tensor> tensors) {
  uint64_t bytes = 0;
  for (const Tensor& t : tensors) bytes += bytes_of(t);
  return bytes;
}

bool aliases(const Tensor& t, std::span<const Tensor> others) {
  for (const Tensor& other : others) {
    if (other && t->storage.get() == other->storage.get()) return true;
  }
  return false;
}

/// Query and key positions that meet; under a causal mask the last query sees all keys.
uint64_t pairs(uint64_t queries, uint64_t keys, bool causal) {
  if (!causal) return queries * keys;
  uint64_t masked =
      queries <= keys ? queries * (queries - 1) / 2 : queries * keys - keys * (keys + 1) / 2;
  return queries * keys - masked;
}

/// FLOP of a forward, from the shapes of its operands and of its first result.
template <class Shape>
uint64_t product_flop(Op op, Shape&& shape, const Dims& out, bool causal) {
  switch (op) {
    case Op::matmul: {
      const Dims& a = shape(0);
      return a.n == 0 ? 0 : 2 * count_of(out) * static_cast<uint64_t>(a.v[a.n - 1]);
    }
    case Op::linear:
    case Op::linear_cross_entropy:
      return 2 * count_of(shape(0)) * static_cast<uint64_t>(shape(1).v[0]);
    case Op::attention: {
      const Dims &q = shape(0), &k = shape(1);
      uint64_t rows = static_cast<uint64_t>(q.v[0] * q.v[1] * q.v[3]);
      return 4 * rows * pairs(static_cast<uint64_t>(q.v[2]), static_cast<uint64_t>(k.v[2]), causal);
    }
    case Op::attention_packed: {  // (batch, length, 3, heads, width)
      const Dims& x = shape(0);
      uint64_t rows = static_cast<uint64_t>(x.v[0] * x.v[3] * x.v[4]);
      uint64_t length = static_cast<uint64_t>(x.v[1]);
      return 4 * rows * pairs(length, length, causal);
    }
    default:
      return 0;
  }
}

/// The argument `causal` of attention; no other operator has one that counts.
int causal_argument(Op op) { return op == Op::attention ? 3 : op == Op::attention_packed ? 1 : -1; }

/// Of linear_cross_entropy: a loss a row is differentiated by computing its logits again, one number in the forward.
constexpr int kLossReduction = 5;

}  // namespace

OperatorCost operator_cost(const OpCall& call) {
  std::span<const Tensor> in{call.tensors.data(), call.tensors.size()};
  std::span<const Tensor> out{call.outputs.data(), call.outputs.size()};
  OperatorCost cost;
  switch (call.op) {
    case Op::zero_:
    case Op::fill_:
      cost.bytes = bytes_of(in.first(1));
      return cost;
    case Op::copy_:
      cost.bytes = bytes_of(in);
      return cost;
    case Op::embedding:  // the rows that are asked for, not the table
      cost.bytes = bytes_of(in[1]) + 2 * bytes_of(out);
      return cost;
    case Op::gather:
      cost.bytes = bytes_of(in.subspan(1)) + 2 * bytes_of(out);
      return cost;
    case Op::adamw_step:  // gradients are read; parameters and moments are read and written
      cost.bytes = 2 * bytes_of(in) - bytes_of(call.list(1));
      return cost;
    case Op::sgd_step:
      cost.bytes = 2 * bytes_of(in) - bytes_of(call.list(1));
      return cost;
    case Op::clip_grad_norm:  // read for the norm, read again and written
      cost.bytes = 3 * bytes_of(in);
      return cost;
    case Op::amp_unscale_:
      cost.bytes = 2 * bytes_of(in);
      return cost;
    case Op::
        linear_cross_entropy: {  // behind the loss: rows that count, gradients of x, weight and bias
      const bool each = call.integer(kLossReduction) == 0;
      const bool of_x = !each && out.size() > 2 && out[2],
                 of_weight = !each && out.size() > 3 && out[3];
      cost.bytes = bytes_of(in) + bytes_of(each ? out.first(1) : out);
      cost.flop = product_flop(
          call.op, [&](int i) -> const Dims& { return in[static_cast<size_t>(i)].shape(); },
          out[0].shape(), false);
      cost.flop *= 1u + of_x + of_weight;
      return cost;
    }
    default:
      break;
  }
  const bool writes_first = !out.empty() && !in.empty() && in[0] && out[0].same(in[0]);
  if (!writes_first && !out.empty() && aliases(out[0], in)) return cost;
  cost.bytes = bytes_of(in) + bytes_of(out);
  if (out.empty()) return cost;
  const int causal = causal_argument(call.op);
  cost.flop = product_flop(
      call.op, [&](int i) -> const Dims& { return in[static_cast<size_t>(i)].shape(); },
      out[0].shape(), causal >= 0 && call.flag(causal));
  return cost;
}

OperatorCost gradient_cost(const Node& node, std::span<const Tensor> grads,
                           std::span<const Tensor> results) {
  OperatorCost cost;
  uint64_t written = 0;
  for (const Tensor& t : results) {
    if (t && !aliases(t, grads)) written += bytes_of(t);
  }
  if (written == 0) return cost;  // a view, or a gradient that is passed on
  cost.bytes = written + bytes_of(grads);
  for (const SavedTensor& saved : node.saved_inputs) cost.bytes += bytes_of(saved.tensor);
  for (const SavedTensor& saved : node.saved_outputs) cost.bytes += bytes_of(saved.tensor);
  const int causal = causal_argument(node.op);
  const uint64_t forward = product_flop(
      node.op, [&](int i) -> const Dims& { return node.inputs[static_cast<size_t>(i)].shape; },
      node.output_metas[0].shape, causal >= 0 && node.words[node.at[causal]] != 0);
  if (forward == 0) return cost;
  if (node.op == Op::linear_cross_entropy) {
    if (node.words[node.at[kLossReduction]] != 0) return cost;
    cost.flop = forward;
  }
  if (causal >= 0) {
    cost.flop = forward / 2 * 5;  // scores again, and a product for each of dv, dp, dq, dk
  } else {
    for (size_t i = 0; i < 2 && i < results.size(); ++i) {
      if (results[i]) cost.flop += forward;
    }
  }
  return cost;
}

uint64_t packed_cost(const OperatorCost& cost) {
  const uint64_t flop = std::bit_cast<uint32_t>(static_cast<float>(cost.flop));
  return flop << 32 | std::bit_cast<uint32_t>(static_cast<float>(cost.bytes));
}

}  // namespace weft
