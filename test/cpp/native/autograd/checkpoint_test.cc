// Activation checkpoints natively: what is left out and comes back, that places empty when their nodes
// are done, that the second run keeps to the streams of the first, and that nothing outlives the graph.
#include "autograd/checkpoint.h"

#include <gtest/gtest.h>

#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using test::host;
using test::make;
using test::values;

Tensor leaf(const Dims& shape) {
  ensure_registered();
  Tensor t = make(shape, DType::kF32, [](int64_t i) { return 0.1 * static_cast<double>(i + 1); });
  set_requires_grad(t, true);
  return t;
}

/// x -> sum(sigmoid(exp(x) * dropout(x))), which keeps results of all of them.
Tensor body(const Tensor& x) {
  Tensor kept = call(Op::dropout, {x, 0.5});
  Tensor y = call(Op::mul, {call(Op::exp, {x}), kept});
  return call(Op::sum, {call(Op::sigmoid, {y}), Dims{}, false});
}

struct Runs {
  int count = 0;
  int64_t live_inside = 0;
};

Tensor checkpointed(const Tensor& x, Runs& runs) {
  CheckpointScope scope(make_ref<Checkpoint>(
      [&runs](std::span<const Tensor> inputs) {
        ++runs.count;
        body(inputs[0]);
      },
      std::vector<Tensor>{x}));
  return body(x);
}

void run_backward(const Tensor& root, bool retain = false) {
  Tensor none;
  backward({&root, 1}, {&none, 1}, {.retain_graph = retain});
}

std::vector<double> gradient(bool checkpoint, Runs& runs) {
  Tensor x = leaf({64});
  seed_device(host(), 7);
  run_backward(checkpoint ? checkpointed(x, runs) : body(x));
  return values(leaf_grad(x));
}

TEST(Checkpoint, GradientsHaveTheBitsOfARunWithoutOneDropoutIncluded) {
  Runs runs;
  const auto plain = gradient(false, runs);
  EXPECT_EQ(gradient(true, runs), plain);
  EXPECT_EQ(runs.count, 1);
}

TEST(Checkpoint, TheGeneratorStandsWhereOneForwardLeavesIt) {
  Runs runs;
  gradient(false, runs);
  const GeneratorState plain = generator_state(host());
  gradient(true, runs);
  EXPECT_EQ(generator_state(host()).offset, plain.offset);
}

TEST(Checkpoint, ResultsAreFreedAfterTheForwardAndAgainAfterTheBackward) {
  Runs runs;
  Tensor x = leaf({1000});
  const int64_t before = tensor_counts(host()).bytes;
  {
    Tensor loss = checkpointed(x, runs);
    EXPECT_LT(tensor_counts(host()).bytes - before, 1000);  // the loss alone
    run_backward(loss, true);
    EXPECT_GT(tensor_counts(host()).bytes - before, 4 * 1000);  // retained
    run_backward(loss);
    EXPECT_EQ(runs.count, 1);
    EXPECT_LT(tensor_counts(host()).bytes - before, 4 * 1000 + 1000);  // the gradient
  }
  replace_grad(x, Tensor());
  EXPECT_EQ(tensor_counts(host()).bytes, before);
}

TEST(Checkpoint, TheSecondRunIsEnqueuedOnTheStreamsOfTheFirst) {
  Stream& side = host().create_stream();
  Tensor x = leaf({4});
  Stream* seen = nullptr;
  Tensor loss;
  {
    StreamGuard guard(side);
    CheckpointScope scope(make_ref<Checkpoint>(
        [&](std::span<const Tensor> inputs) {
          seen = &current_stream(host());
          body(inputs[0]);
        },
        std::vector<Tensor>{x}));
    loss = body(x);
  }
  run_backward(loss);
  EXPECT_EQ(seen, &side);
  EXPECT_EQ(&current_stream(host()), &host().compute());
  EXPECT_EQ(values(leaf_grad(x)).size(), 4u);
}

TEST(Checkpoint, AnotherPathIsAUsageErrorAndTheThreadIsFreeAfterwards) {
  Tensor x = leaf({4});
  Tensor loss;
  {
    CheckpointScope scope(
        make_ref<Checkpoint>([](std::span<const Tensor> inputs) { call(Op::exp, {inputs[0]}); },
                             std::vector<Tensor>{x}));
    loss = body(x);
  }
  EXPECT_THROW(run_backward(loss), Error);
  EXPECT_EQ(checkpoints::open(), nullptr);
  EXPECT_TRUE(grad_enabled());
  Runs runs;
  EXPECT_EQ(gradient(true, runs), gradient(false, runs));
}

}  // namespace
}  // namespace weft
