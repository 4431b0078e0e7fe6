// See joint.h.
#include "autograd/joint.h"

#include <algorithm>
#include <utility>

#include "autograd/record.h"

namespace weft {
namespace {

void add_stream(Node& node, const Tensor& t) {
  Stream* stream = &current_stream(t.device());
  auto& all = node.streams;
  if (std::find(all.begin(), all.end(), stream) == all.end()) all.push_back(stream);
}

}  // namespace

bool joint_recorded(const char* name, std::span<const Tensor> inputs) {
  if (!grad_enabled()) return false;
  bool record = false;
  for (const Tensor& t : inputs) {
    record = record || t.requires_grad();
    check_history(name, t);
  }
  return record;
}

void record_joint(const char* name, std::span<const Tensor> inputs, std::span<const Tensor> outputs,
                  JointFormula formula) {
  auto node = make_ref<Node>();
  node->name = name;
  node->custom = std::move(formula);
  node->sequence = next_sequence();
  node->device = outputs[0].device().index();
  node->stream = &current_stream(outputs[0].device());
  node->outputs = static_cast<int>(outputs.size());
  for (const Tensor& t : outputs) {
    node->output_metas.push_back(meta_of(t));
    add_stream(*node, t);
  }
  for (const Tensor& t : inputs) {
    node->inputs.push_back(meta_of(t));
    node->edges.push_back(t.requires_grad() ? gradient_edge(t) : Edge{});
    add_stream(*node, t);
  }
  for (size_t i = 0; i < outputs.size(); ++i) set_history(outputs[i], node, static_cast<int>(i));
}

}  // namespace weft
