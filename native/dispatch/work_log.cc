// See work_log.h.
#include "dispatch/work_log.h"

namespace weft::work_log {

void log_call(const OpCall& call) {
  if (!call.outputs.empty()) {
    log(Work::kForward, call.op, call.outputs[0]);
    return;
  }
  // An optimizer: its parameters are the first list.
  if (call.tensors.empty()) return;
  uint64_t bytes = 0;
  for (const Tensor& t : call.list(0)) {
    bytes += static_cast<uint64_t>(t.numel()) * dtype_bytes(t.dtype());
  }
  log(Work::kForward, call.op, current_stream(call.tensors[0].device()), bytes);
}

}  // namespace weft::work_log
