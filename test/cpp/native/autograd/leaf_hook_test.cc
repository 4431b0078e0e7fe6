// Hooks that change the list of hooks while it runs, and leaves that several threads use at once.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using test::host;
using test::values;

Tensor filled(double value) {
  ensure_registered();
  return ops::full({4}, value, DType::kF32, host());
}
Tensor leaf(double value) {
  Tensor t = filled(value);
  set_requires_grad(t, true);
  return t;
}
void run(const Tensor& root) {
  Tensor none, sum = call(Op::sum, {root, Dims{}, false});
  backward({&sum, 1}, {&none, 1});
}

TEST(Hooks, OneRegisteredByAHookRunsFromTheNextPassOn) {
  Tensor x = leaf(1);
  int outer = 0, inner = 0;
  add_tensor_hook(x, [&](const Tensor&) {
    // Many, so that a list that grows in place has to move.
    for (int i = 0; i < 20 && outer == 0; ++i) {
      add_tensor_hook(x, [&](const Tensor&) {
        ++inner;
        return Tensor();
      });
    }
    ++outer;
    return Tensor();
  });
  run(call(Op::mul_scalar, {x, 2.0}));
  EXPECT_EQ(outer, 1);
  EXPECT_EQ(inner, 0);
  run(call(Op::mul_scalar, {x, 2.0}));
  EXPECT_EQ(outer, 2);
  EXPECT_EQ(inner, 20);
}

TEST(Hooks, ALeafHookMayRegisterLeafHooks) {
  Tensor x = leaf(1);
  int inner = 0;
  HookHandle first;
  first = add_leaf_hook(x, [&] {
    for (int i = 0; i < 20; ++i) add_leaf_hook(x, [&] { ++inner; });
    first.remove();
  });
  run(x);
  EXPECT_EQ(inner, 0);
  run(x);
  EXPECT_EQ(inner, 20);
}

TEST(Hooks, OneThatIsRemovedByAnEarlierOneDoesNotRun) {
  Tensor x = leaf(1);
  int late = 0;
  HookHandle second;
  add_leaf_hook(x, [&] { second.remove(); });
  second = add_leaf_hook(x, [&] { ++late; });
  run(x);
  EXPECT_EQ(late, 0);
}

TEST(Hooks, WhatARemovedHookHeldIsFreed) {
  Tensor x = leaf(1);
  Tensor y = call(Op::mul_scalar, {x, 2.0});
  auto held = std::make_shared<int>(1);
  std::weak_ptr<int> watch = held;
  HookHandle on_leaf = add_leaf_hook(x, [held] {});
  HookHandle on_node = add_tensor_hook(y, [held](const Tensor&) { return Tensor(); });
  held.reset();
  on_leaf.remove();
  EXPECT_FALSE(watch.expired());
  on_node.remove();
  on_node.remove();
  EXPECT_TRUE(watch.expired());
  EXPECT_FALSE(has_leaf_hooks(x));
}

TEST(Hooks, AHandleOutlivesItsTensor) {
  HookHandle handle;
  {
    Tensor x = leaf(1);
    handle = add_leaf_hook(x, [] {});
  }
  handle.remove();
  HookHandle none;
  none.remove();
}

// ThreadSanitizer sees what these threads do to the leaf without a lock.
TEST(SharedLeaf, ThreadsThatAskForGradientsAndRecordAtOnceAllCount) {
  constexpr int kThreads = 4, kSteps = 50;
  Tensor shared = filled(1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kSteps; ++i) {
        set_requires_grad(shared, true);
        run(call(Op::mul_scalar, {shared, 2.0}));
        leaf_grad(shared);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(leaf_grad(shared));
  EXPECT_EQ(values(leaf_grad(shared)), std::vector<double>(4, 2.0 * kThreads * kSteps));
}

TEST(SharedLeaf, HooksComeAndGoWhileOtherThreadsRunThem) {
  Tensor shared = leaf(1);
  std::atomic<int> ran{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        HookHandle on_leaf = add_leaf_hook(shared, [&] { ++ran; });
        HookHandle on_grad = add_tensor_hook(shared, [&](const Tensor&) {
          ++ran;
          return Tensor();
        });
        run(call(Op::mul_scalar, {shared, 2.0}));
        on_leaf.remove();
        on_grad.remove();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GE(ran.load(), 4 * 50 * 2);
  EXPECT_FALSE(has_leaf_hooks(shared));
}

TEST(SharedLeaf, OneGradientIsTakenAwayWhileOthersAdd) {
  Tensor shared = leaf(1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) run(call(Op::mul_scalar, {shared, 2.0}));
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 50; ++i) replace_grad(shared, Tensor());
  });
  for (auto& thread : threads) thread.join();
  run(shared);
  EXPECT_TRUE(leaf_grad(shared));
}

}  // namespace
}  // namespace weft
