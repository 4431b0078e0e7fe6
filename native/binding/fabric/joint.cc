// Collectives with gradients for TypeScript: src/mesh/collectives.ts calls this.
#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/group_table.h"
#include "fabric/event_log.h"
#include "parallel/joint_collective.h"

namespace weft::binding {
namespace {

// jointCollective(group, kind, op, root, timeoutMs, resultMs, count): number; words hold the inputs'
// handles, then the results'
napi_value joint(Frame& f) {
  auto group = find_group(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  JointCall call;
  call.kind = static_cast<fabric::CollectiveKind>(
      f.integer(1, static_cast<int>(fabric::CollectiveKind::kReduce)));
  call.op = static_cast<fabric::ReduceOp>(f.integer(2, static_cast<int>(fabric::ReduceOp::kProd)));
  call.root = static_cast<int>(f.signed_integer(3));
  call.timeout_ms = f.signed_integer(4);
  call.result_ms = f.signed_integer(5);
  const uint64_t count = f.integer(6, kCallWords);
  double* w = f.words();
  std::vector<Tensor> inputs;
  for (uint64_t i = 0; i < count; ++i) {
    inputs.push_back(handles::get(static_cast<handles::Handle>(w[i])));
  }
  std::vector<Tensor> outputs = joint_collective(group, call, inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    w[i] = static_cast<double>(f.adopt(std::move(outputs[i])));
  }
  return make_number(f.env, static_cast<double>(outputs.size()));
}

// logRedistribution(device, operator, bytes): operands were moved for the operator, unasked
napi_value log_redistribution(Frame& f) {
  const auto device = static_cast<int>(f.integer(0, fabric::kNoDevice - 1));
  const auto op = static_cast<uint32_t>(f.integer(1, UINT32_MAX));
  const auto bytes = static_cast<uint64_t>(f.number(2));
  fabric::event_log::log(fabric::EventKind::kRedistribute, device, 0, fabric::kNoDevice, bytes, op,
                         op);
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"jointCollective", entry<joint>},
    {"logRedistribution", entry<log_redistribution>},
};

}  // namespace

FunctionList joint_functions() { return kFunctions; }

}  // namespace weft::binding
