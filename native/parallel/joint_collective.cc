// See joint_collective.h.
#include "parallel/joint_collective.h"

#include <utility>

#include "autograd/joint.h"
#include "ops/ops.h"

namespace weft {
namespace {

using fabric::CollectiveArgs;
using fabric::CollectiveKind;
using fabric::Group;
using fabric::ReduceOp;

/// All ranks of one collective: in[r] -> out[r], contiguous, on the current streams. An undefined
/// `in` takes no part but for its `out` (broadcast).
void run(Group& group, const JointCall& call, std::span<const Tensor> in,
         std::span<const Tensor> out) {
  std::vector<CollectiveArgs> args;
  const bool scatters = call.kind == CollectiveKind::kReduceScatter;
  for (int r = 0; r < group.size(); ++r) {
    const auto i = static_cast<size_t>(r);
    auto held = std::make_shared<std::pair<Tensor, Tensor>>(in[i] ? in[i] : out[i], out[i]);
    CollectiveArgs& a = args.emplace_back();
    a.kind = call.kind;
    a.op = call.op;
    a.root = call.root;
    a.result_ms = call.result_ms;
    a.stream = &current_stream(group.device(r));
    a.joins = true;
    held->first->storage->order(*a.stream);
    held->second->storage->order(*a.stream);
    a.dtype = held->first.dtype();
    a.count = static_cast<uint64_t>((scatters ? held->second : held->first).numel());
    a.in = held->first.data();
    a.out = held->second.data();
    a.on_launched = [held](Stream& comm) {
      held->first->storage->note_use(comm);
      held->second->storage->note_use(comm);
    };
    a.keep_alive = std::move(held);
  }
  auto works = group.submit_all(args, call.timeout_ms);
  for (auto& work : works) work->wait_launched();  // all have arrived: this reports
  for (int r = 0; r < group.size(); ++r) {
    works[static_cast<size_t>(r)]->stream_wait(current_stream(group.device(r)));
  }
}

Dims with_first(const Dims& shape, int64_t first) {
  Dims out = shape;
  out.v[0] = first;
  return out;
}

Dims result_shape(const JointCall& call, const Dims& shape, int ranks) {
  const bool gathers = call.kind == CollectiveKind::kAllGather;
  if (!gathers && call.kind != CollectiveKind::kReduceScatter) return shape;
  const char* name = fabric::collective_name(call.kind);
  if (shape.n == 0) fail(ErrorCode::kShape, "%s: a tensor without dimensions has no parts", name);
  if (gathers) return with_first(shape, shape.v[0] * ranks);
  if (shape.v[0] % ranks != 0) {
    fail(ErrorCode::kShape, "%s over %d ranks: dimension 0 of %s does not split evenly", name,
         ranks, to_string(shape).c_str());
  }
  return with_first(shape, shape.v[0] / ranks);
}

/// One contiguous input a rank, undefined where a broadcast needs none; outputs on every rank.
std::vector<Tensor> forward(Group& group, const JointCall& call, std::span<const Tensor> inputs) {
  const int ranks = group.size();
  const bool sends = call.kind == CollectiveKind::kBroadcast;
  std::vector<Tensor> in(static_cast<size_t>(ranks)), out(static_cast<size_t>(ranks));
  for (int r = 0; r < ranks; ++r) {
    const auto i = static_cast<size_t>(r);
    if (!sends) in[i] = ops::contiguous(inputs[i]);
  }
  if (sends) in[static_cast<size_t>(call.root)] = ops::contiguous(inputs[0]);
  const Dims shape = result_shape(call, inputs[0].shape(), ranks);
  for (int r = 0; r < ranks; ++r) {
    out[static_cast<size_t>(r)] = empty(shape, inputs[0].dtype(), group.device(r));
  }
  run(group, call, in, out);
  return out;
}

JointCall adjoint(JointCall call) {
  switch (call.kind) {
    case CollectiveKind::kAllGather:
      call.kind = CollectiveKind::kReduceScatter;
      break;
    case CollectiveKind::kReduceScatter:
      call.kind = CollectiveKind::kAllGather;
      break;
    case CollectiveKind::kBroadcast:
      call.kind = CollectiveKind::kReduce;
      break;
    case CollectiveKind::kReduce:
      call.kind = CollectiveKind::kBroadcast;
      break;
    default:
      return call;  // all-reduce: itself, with its own op
  }
  return call;
}

/// Its gradient goes to the ranks that have the extreme, in equal shares.
bool is_extreme(const JointCall& call) {
  return call.kind == CollectiveKind::kAllReduce &&
         (call.op == ReduceOp::kMax || call.op == ReduceOp::kMin);
}

void record_extreme(const char* name, const std::shared_ptr<Group>& group, JointCall call,
                    std::span<const Tensor> inputs, std::span<const Tensor> out) {
  std::vector<Tensor> holds;  // 1 where a rank has the extreme
  for (size_t r = 0; r < inputs.size(); ++r) {
    holds.push_back(
        ops::to_dtype(ops::binary(BinaryOp::kEq, inputs[r], out[r], name), inputs[r].dtype()));
  }
  call.op = ReduceOp::kSum;
  record_joint(name, inputs, out,
               [group, call, holds](std::span<Tensor> grads, std::span<Tensor> results) {
                 const std::vector<Tensor> whole = forward(*group, call, grads);
                 const std::vector<Tensor> holders = forward(*group, call, holds);
                 for (size_t r = 0; r < results.size(); ++r) {
                   results[r] = ops::mul(holds[r], ops::div(whole[r], holders[r]));
                 }
               });
}

bool sums(ReduceOp op) { return op == ReduceOp::kSum || op == ReduceOp::kAvg; }

void check_inputs(Group& group, const JointCall& call, std::span<const Tensor> inputs) {
  const char* name = fabric::collective_name(call.kind);
  const bool sends = call.kind == CollectiveKind::kBroadcast;
  const size_t wanted = sends ? 1 : static_cast<size_t>(group.size());
  if (inputs.size() != wanted) {
    fail(ErrorCode::kUsage, "%s: %zu tensors are needed, %zu were given", name, wanted,
         inputs.size());
  }
  if (call.root < 0 || call.root >= group.size()) {
    fail(ErrorCode::kUsage, "%s: root %d is not a rank of a group of %d", name, call.root,
         group.size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int rank = sends ? call.root : static_cast<int>(i);
    const Tensor& t = inputs[i];
    if (&t.device() != &group.device(rank)) {
      fail(ErrorCode::kDevice, "%s: the tensor of rank %d is on %s, the rank is %s", name, rank,
           t.device().name().c_str(), group.device(rank).name().c_str());
    }
    if (!(t.shape() == inputs[0].shape())) {
      fail(ErrorCode::kShape, "%s: the tensor of rank %d is %s, that of rank 0 %s", name, rank,
           to_string(t.shape()).c_str(), to_string(inputs[0].shape()).c_str());
    }
    if (t.dtype() != inputs[0].dtype()) {
      fail(ErrorCode::kDtype, "%s: the tensor of rank %d is %s, that of rank 0 %s", name, rank,
           dtype_name(t.dtype()), dtype_name(inputs[0].dtype()));
    }
  }
}

}  // namespace

std::vector<Tensor> joint_collective(const std::shared_ptr<Group>& group, const JointCall& call,
                                     std::span<const Tensor> inputs) {
  check_inputs(*group, call, inputs);
  const char* name = fabric::collective_name(call.kind);
  const bool record = joint_recorded(name, inputs);
  if (record && !sums(call.op) && !is_extreme(call)) {
    fail(ErrorCode::kUsage,
         "%s: only sum and avg have gradients, and max and min of all_reduce; call it inside "
         "noGrad() or on detach()",
         name);
  }
  std::vector<Tensor> out = forward(*group, call, inputs);
  const auto root = static_cast<size_t>(call.root);
  if (call.kind == CollectiveKind::kReduce) out = {out[root]};
  if (!record) return out;
  if (is_extreme(call)) {
    record_extreme(name, group, call, inputs, out);
    return out;
  }

  JointCall back = adjoint(call);
  // The average's factor belongs to the adjoint too; a gather has none of its own.
  const bool averages = call.op == ReduceOp::kAvg && call.kind != CollectiveKind::kAllReduce;
  back.op = call.kind == CollectiveKind::kAllReduce ? call.op : ReduceOp::kSum;
  record_joint(name, inputs, out,
               [group, back, averages](std::span<Tensor> grads, std::span<Tensor> results) {
                 std::vector<Tensor> made = forward(*group, back, grads);
                 if (back.kind == CollectiveKind::kReduce)
                   made = {made[static_cast<size_t>(back.root)]};
                 for (size_t i = 0; i < results.size(); ++i) {
                   results[i] = averages ? ops::mul_scalar(made[i], 1.0 / group->size())
                                         : std::move(made[i]);
                 }
               });
  return out;
}

}  // namespace weft
