// The event log sees all native work of a training step. Before each piece of work the test enqueues
// a mark of its own (an event's record, which is logged with the time too), so that work which no
// event names ends in a mark's span. A span reaches from the end of the event before it on the
// stream to its own end.
#include "dispatch/work_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "fabric/gate.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using test::host;

std::string name_of(const fabric::EventRecord& event) {
  static const char* const kWork[] = {
#define WEFT_WORK(enumerator, name) name,
#include "dispatch/work_kinds.def"
#undef WEFT_WORK
  };
  const std::string work = kWork[event.detail >> 16];
  if (!work.empty() && work[0] != '.') return work;
  return op_name(static_cast<Op>(event.detail & 0xffff)) + work;
}

/// A training step whose every piece of work has a mark before it.
class MarkedStep {
 public:
  MarkedStep() : mark_(host()) {}

  Tensor op(Op op, std::initializer_list<OpArg> args) {
    mark();
    return call(op, args);
  }
  Tensor parameter(const Dims& shape) {
    Tensor t = ops::random(RandomArgs::Kind::kNormal, shape, 0, 0.1, DType::kF32, host());
    set_requires_grad(t, true);
    add_tensor_hook(t, [this](const Tensor&) {
      mark();
      return Tensor();
    });
    parameters_.push_back(t);
    return t;
  }
  /// Marks before the formula of every node that `root` was made from.
  void mark_formulas(const Tensor& root) {
    std::vector<Node*> open{root->autograd->grad_fn.get()};
    std::set<Node*> seen;
    while (!open.empty()) {
      Node* node = open.back();
      open.pop_back();
      if (!seen.insert(node).second) continue;
      for (const Edge& edge : node->edges) {
        if (edge.node) open.push_back(edge.node.get());
      }
      if (node->leaf != nullptr) continue;
      node->custom = [this, node](std::span<Tensor> grads, std::span<Tensor> results) {
        mark();
        GradCall call(*node, grads, results);
        node->formula(call);
      };
    }
  }
  const std::vector<Tensor>& parameters() const { return parameters_; }

 private:
  void mark() { mark_.record(current_stream(host())); }
  fabric::Event mark_;
  std::vector<Tensor> parameters_;
};

TEST(WorkLog, NamesTheDeviceTimeOfATrainingStep) {
  ensure_registered();
  constexpr int64_t kTokens = 1024, kWidth = 64, kVocabulary = 512;
  MarkedStep step;
  Tensor table = step.parameter({kVocabulary, kWidth});
  Tensor norm = step.parameter({kWidth}), qkv = step.parameter({3 * kWidth, kWidth});
  Tensor up = step.parameter({4 * kWidth, kWidth}), down = step.parameter({kWidth, 4 * kWidth});
  Tensor head = step.parameter({kVocabulary, kWidth});
  std::vector<Tensor> first, second;
  for (const Tensor& p : step.parameters()) {
    first.push_back(ops::zeros_like(p));
    second.push_back(ops::zeros_like(p));
  }
  Tensor tokens = call(Op::randint, {Dims{4, kTokens / 4}, 0.0, static_cast<double>(kVocabulary),
                                     DType::kI64, static_cast<int64_t>(host().index())});
  Tensor targets = call(Op::view, {tokens, Dims{kTokens}}), none;

  struct Span {
    std::string name;  // empty: a mark ended it, so nothing named the work
    double ns = 0;
  };
  auto spans_of_a_step = [&] {
    // Half of the leaves have a gradient to add to, the others take theirs.
    for (size_t k = 0; k < step.parameters().size(); ++k) {
      const Tensor& p = step.parameters()[k];
      replace_grad(p, k % 2 == 0 ? Tensor() : ops::zeros_like(p));
    }
    host().compute().synchronize();
    fabric::event_log::set_mode(fabric::LogMode::kTiming);
    const uint64_t since = fabric::event_log::read(0, 0).next_sequence;
    // Held until all is enqueued, so that the stream never stands still and every span is work.
    auto gate = std::make_shared<fabric::Gate>();
    host().driver().hold(host().compute().handle(), gate);
    {
      Tensor x = step.op(Op::embedding, {table, tokens});
      Tensor n = step.op(Op::rms_norm, {x, norm, 1e-5});
      Tensor heads = step.op(Op::view, {step.op(Op::linear, {n, qkv, none, false}),
                                        Dims{4, kTokens / 4, 3, 4, kWidth / 4}});
      Tensor a = step.op(Op::view, {step.op(Op::attention_packed, {heads, true, 0.0}),
                                    Dims{4, kTokens / 4, kWidth}});
      Tensor y = step.op(Op::add, {x, a});
      Tensor h = step.op(Op::linear, {step.op(Op::linear, {y, up, none, true}), down, none, false});
      Tensor logits = step.op(Op::linear, {step.op(Op::add, {y, h}), head, none, false});
      Tensor loss = step.op(
          Op::cross_entropy,
          {step.op(Op::view, {logits, Dims{kTokens, kVocabulary}}), targets, -100.0, 1.0, 0.0});
      step.mark_formulas(loss);
      backward({&loss, 1}, {&none, 1});
    }
    std::vector<Tensor> grads;
    for (const Tensor& p : step.parameters()) grads.push_back(leaf_grad(p));
    step.op(Op::clip_grad_norm, {grads, 1.0});
    step.op(Op::adamw_step,
            {step.parameters(), grads, first, second, 1e-3, 0.9, 0.95, 1e-8, 0.1, 1.0, Tensor()});
    gate->open();
    EXPECT_TRUE(host().driver().synchronize_stream(host().compute().handle(), 60'000));
    fabric::event_log::collect_device_times();
    const auto events = fabric::event_log::read(since, 100'000).events;
    fabric::event_log::set_mode(fabric::LogMode::kOff);

    std::vector<Span> spans;
    uint64_t end = 0;
    for (const auto& event : events) {
      if (event.device != host().index() || event.stream != host().compute().id()) continue;
      if (event.device_ns == 0) continue;
      const bool named = event.kind == static_cast<uint16_t>(fabric::EventKind::kOperator);
      const double ns = end == 0 ? 0 : static_cast<double>(event.device_ns - end);
      spans.push_back({named ? name_of(event) : "", ns});
      end = event.device_ns;
    }
    return spans;
  };
  // A loaded machine stops the device's thread anywhere, which stretches one span of one step. Every
  // step does the same work in the same order, so each place's shortest span of ten steps is its work.
  std::vector<Span> shortest = spans_of_a_step();
  for (int i = 1; i < 10; ++i) {
    const std::vector<Span> spans = spans_of_a_step();
    ASSERT_EQ(spans.size(), shortest.size());
    for (size_t k = 0; k < spans.size(); ++k) {
      ASSERT_EQ(spans[k].name, shortest[k].name) << "place " << k;
      shortest[k].ns = std::min(shortest[k].ns, spans[k].ns);
    }
  }
  double total = 0, named = 0;
  std::set<std::string> names;
  for (const Span& span : shortest) {
    total += span.ns;
    if (span.name.empty()) continue;
    named += span.ns;
    names.insert(span.name);
  }
  for (const char* name :
       {"embedding", "rms_norm", "linear", "attention_packed", "cross_entropy",
        "embedding.backward", "rms_norm.backward", "linear.backward", "attention_packed.backward",
        "add.backward", "cross_entropy.backward", "gradient.start", "gradient.sum",
        "gradient.accumulate", "clip_grad_norm", "adamw_step"}) {
    EXPECT_TRUE(names.count(name)) << name;
  }
  std::string unnamed;
  for (size_t k = 1; k < shortest.size(); ++k) {
    if (shortest[k].name.empty() && shortest[k].ns > total / 500)
      unnamed += "\n" + std::to_string(shortest[k].ns) + " ns after " + shortest[k - 1].name;
  }
  EXPECT_GE(named / total, 0.95) << named << " of " << total << " ns" << unnamed;
}

TEST(WorkLog, OffWritesNothing) {
  ensure_registered();
  Tensor x = ops::full({4}, 1, DType::kF32, host()), none;
  set_requires_grad(x, true);
  const uint64_t before = fabric::event_log::read(0, 0).next_sequence;
  Tensor loss = call(Op::sum, {call(Op::mul, {x, x}), Dims{}, false});
  backward({&loss, 1}, {&none, 1});
  EXPECT_EQ(fabric::event_log::read(0, 0).next_sequence, before);
}

}  // namespace
}  // namespace weft
