// See work_log.h.
#include "dispatch/work_log.h"

#include "dispatch/operator_costs.h"

namespace weft::work_log {

void log_call(const OpCall& call) {
  const uint64_t cost = costs() ? packed_cost(operator_cost(call)) : 0;
  if (!call.outputs.empty()) {
    const Tensor& result = call.outputs[0];
    log(Work::kForward, call.op, current_stream(result.device()),
        static_cast<uint64_t>(result.numel()) * dtype_bytes(result.dtype()), cost);
    return;
  }
  // An optimizer: its parameters are the first list.
  if (call.tensors.empty()) return;
  uint64_t bytes = 0;
  for (const Tensor& t : call.list(0)) {
    bytes += static_cast<uint64_t>(t.numel()) * dtype_bytes(t.dtype());
  }
  log(Work::kForward, call.op, current_stream(call.tensors[0].device()), bytes, cost);
}

}  // namespace weft::work_log
