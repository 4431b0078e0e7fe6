// The dispatcher: one operator call from checked arguments to recorded results. The hot path of the
// whole system; see op_table.h for the order and what it may not do. autograd/record.h records.
#include "autograd/checkpoint.h"
#include "autograd/record.h"
#include "dispatch/autocast.h"
#include "dispatch/work_log.h"
#include "fabric/allocator.h"
#include "fabric/fabric.h"

namespace weft {
namespace {

void check_same_device(const OpCall& call) {
  const Tensor* first = nullptr;
  for (const Tensor& t : call.tensors) {
    if (!t) continue;
    if (!first) {
      first = &t;
    } else if (&t.device() != &first->device()) {
      fail(ErrorCode::kDevice, "%s: tensors are on %s and %s; move one with .to(device)",
           op_name(call.op), first->device().name().c_str(), t.device().name().c_str());
    }
  }
}

}  // namespace

void dispatch(OpCall& call) {
  RowData& row = row_data(call.op);
  ForwardFn forward = row.override_forward.load(std::memory_order_acquire);
  if (!forward) forward = row.row.forward;
  if (!forward) [[unlikely]] {
    fail(ErrorCode::kUsage, "operator %s has no implementation in this build", op_name(call.op));
  }
  if (fabric::poisoned()) [[unlikely]]
    fabric::check_poison();
  if (row.row.policy == DevicePolicy::kSame) check_same_device(call);
  if (autocast::on()) [[unlikely]]
    autocast::cast_operands(call, row.autocast);

  Recording recording;
  if (grad_enabled()) recording.begin(call, row);

  if (row.writes_first) call.outputs.push_back(call.tensors[0]);
  fabric::set_allocation_tag(static_cast<uint32_t>(call.op) + 1);
  forward(call);
  fabric::set_allocation_tag(0);

  if (row.writes_first) {
    call.tensors[0]->storage->bump_version(static_cast<uint16_t>(call.op));
  } else {
    // An operator with nothing to do returns its argument: give the result an identity of its own.
    for (Tensor& out : call.outputs) {
      for (const Tensor& in : call.tensors) {
        if (in && out.same(in)) {
          out = make_view(out, out.shape(), out.strides(), out->offset);
          break;
        }
      }
    }
  }
  if (Checkpoint* checkpoint = checkpoints::open()) [[unlikely]]
    checkpoint->note_made(call);
  if (recording) recording.end(call, row);
  if (work_log::on()) [[unlikely]]
    work_log::log_call(call);
}

}  // namespace weft
