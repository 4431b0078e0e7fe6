// The reducer: gradients averaged over ranks, micro-steps, a rank without a batch, and a second
// backward pass where only one is allowed.
#include "parallel/reducer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "dispatch/op_table.h"
#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

constexpr int64_t kTimeoutMs = 10'000;

std::shared_ptr<fabric::Group> make_group(int ranks) {
  ensure_registered();
  std::vector<Device*> devices;
  for (int r = 0; r < ranks; ++r) {
    devices.push_back(&fabric::open_device("host:" + std::to_string(r)));
  }
  return fabric::Group::create(devices);
}
void on_every_rank(int ranks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) threads.emplace_back(body, r);
  for (std::thread& thread : threads) thread.join();
}
Tensor parameter(Device& device, double value) {
  ensure_registered();
  Tensor t = ops::full({8}, value, DType::kF32, device);
  set_requires_grad(t, true);
  return t;
}
void run(const Tensor& parameter, double factor) {
  Tensor none, loss = call(Op::sum, {call(Op::mul_scalar, {parameter, factor}), Dims{}, false});
  backward({&loss, 1}, {&none, 1});
}
float first_value(const Tensor& t) {
  EXPECT_TRUE(t.device().driver().synchronize_stream(t.device().compute().handle(), kTimeoutMs));
  float value;
  std::memcpy(&value, t.data(), sizeof value);
  return value;
}

TEST(Reducer, AveragesOverRanksAndAddsUpMicroSteps) {
  auto group = make_group(2);
  on_every_rank(2, [&](int rank) {
    Tensor w = parameter(group->device(rank), 1);
    Reducer reducer(group, rank, {w}, {.timeout_ms = kTimeoutMs});
    for (int step = 0; step < 3; ++step) {
      reducer.begin(BackwardMode::kAccumulate, 0);
      run(w, 1 + rank);
      reducer.begin(BackwardMode::kReduce, uint64_t{1} << rank);
      run(w, 10 * (1 + rank));
      EXPECT_EQ(reducer.finish(), 3u);
      ASSERT_TRUE(leaf_grad(w));
      EXPECT_EQ(first_value(leaf_grad(w)), (11 + 22) / 2.f);
    }
  });
}

TEST(Reducer, ARankWithoutABatchHasZerosOfItsOwnAndTheAverage) {
  auto group = make_group(2);
  on_every_rank(2, [&](int rank) {
    Tensor w = parameter(group->device(rank), 1);
    Reducer reducer(group, rank, {w}, {.timeout_ms = kTimeoutMs});
    for (int step = 0; step < 2; ++step) {
      reducer.begin(rank == 0 ? BackwardMode::kReduce : BackwardMode::kAbsent, 0);
      if (rank == 0) run(w, 6);
      reducer.finish();
      // The optimizer reads it like any other: it is there, and the next pass adds to it.
      ASSERT_TRUE(leaf_grad(w)) << "rank " << rank;
      EXPECT_EQ(first_value(leaf_grad(w)), 3.f) << "rank " << rank;
    }
  });
}

TEST(Reducer, AParameterThatAStepDoesNotUseHasZerosWhereThatIsAskedFor) {
  auto group = make_group(2);
  on_every_rank(2, [&](int rank) {
    Tensor w = parameter(group->device(rank), 1), v = parameter(group->device(rank), 1);
    Reducer strict(group, rank, {w, v}, {.timeout_ms = kTimeoutMs});
    strict.begin(BackwardMode::kReduce, 0);
    run(w, 2);
    EXPECT_THROW(strict.finish(), Error);
    Reducer reducer(group, rank, {w, v}, {.timeout_ms = kTimeoutMs, .zero_unused = true});
    for (int step = 0; step < 3; ++step) {
      reducer.begin(BackwardMode::kReduce, 0);
      run(w, 2);
      // In the first step on both ranks, in the second on one, in the third on none.
      if (step == 0 || (step == 1 && rank == 0)) run(v, 6);
      reducer.finish();
      EXPECT_EQ(first_value(leaf_grad(w)), 2.f);
      EXPECT_EQ(first_value(leaf_grad(v)), step == 0 ? 6.f : step == 1 ? 3.f : 0.f);
    }
  });
}

TEST(Reducer, TheOrderOfOneRunIsTakenOverByTheNext) {
  auto group = make_group(2);
  on_every_rank(2, [&](int rank) {
    std::vector<Tensor> params;
    for (int i = 0; i < 3; ++i) params.push_back(parameter(group->device(rank), 1));
    std::vector<int> order;
    {
      Reducer reducer(group, rank, params, {.timeout_ms = kTimeoutMs});
      EXPECT_TRUE(reducer.order().empty());
      reducer.begin(BackwardMode::kReduce, 0);
      for (const int p : {1, 0, 2}) run(params[static_cast<size_t>(p)], 1);
      reducer.finish();
      order = reducer.order();
    }
    EXPECT_EQ(order, (std::vector<int>{1, 0, 2}));
    Reducer next(group, rank, params, {.timeout_ms = kTimeoutMs});
    for (const std::vector<int>& bad : {std::vector<int>{0, 1}, {0, 0, 1}, {0, 1, 3}, {-1, 0, 1}}) {
      EXPECT_THROW(next.set_order(bad), Error);
    }
    next.set_order(order);
    EXPECT_EQ(next.order(), order);
    for (int step = 0; step < 2; ++step) {
      next.begin(BackwardMode::kReduce, 0);
      EXPECT_THROW(next.set_order(order), Error);
      for (int p = 0; p < 3; ++p) run(params[static_cast<size_t>(p)], 1 + p + rank);
      next.finish();
      for (int p = 0; p < 3; ++p) {
        EXPECT_EQ(first_value(leaf_grad(params[static_cast<size_t>(p)])), 1.5f + p);
      }
      EXPECT_EQ(next.order(), order);  // whatever order the passes have now
    }
  });
}

TEST(Reducer, ASecondBackwardInsideOneBeginIsANamedErrorAndChangesNothing) {
  for (const int ranks : {1, 2}) {  // the same program means the same on any number of devices
    auto group = make_group(ranks);
    on_every_rank(ranks, [&](int rank) {
      Tensor w = parameter(group->device(rank), 1);
      Reducer reducer(group, rank, {w}, {.timeout_ms = kTimeoutMs});
      for (int step = 0; step < 2; ++step) {
        reducer.begin(BackwardMode::kReduce, 0);
        run(w, 4);
        try {
          run(w, 100);
          ADD_FAILURE() << "the second pass was ignored";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kUsage);
          EXPECT_NE(error.message().find("begin"), std::string::npos) << error.message();
        }
        reducer.finish();
        EXPECT_EQ(first_value(leaf_grad(w)), 4.f);
      }
      // Outside a step gradients belong to the user again.
      run(w, 1);
      EXPECT_EQ(first_value(leaf_grad(w)), 5.f);
    });
  }
}

TEST(Reducer, AnAbandonedStepLeavesTheGradientsUsable) {
  auto group = make_group(1);
  Tensor w = parameter(group->device(0), 1);
  Reducer reducer(group, 0, {w}, {.timeout_ms = kTimeoutMs});
  reducer.begin(BackwardMode::kReduce, 0);
  run(w, 4);
  reducer.abandon();
  EXPECT_NO_THROW(run(w, 4));
  EXPECT_EQ(first_value(leaf_grad(w)), 8.f);
}

TEST(Reducer, TwoPassesOverDifferentParametersAreOneStep) {
  auto group = make_group(2);
  on_every_rank(2, [&](int rank) {
    Tensor a = parameter(group->device(rank), 1), b = parameter(group->device(rank), 1);
    Reducer reducer(group, rank, {a, b}, {.timeout_ms = kTimeoutMs});
    reducer.begin(BackwardMode::kReduce, 0);
    run(a, 2);
    run(b, 3);
    reducer.finish();
    EXPECT_EQ(first_value(leaf_grad(a)), 2.f);
    EXPECT_EQ(first_value(leaf_grad(b)), 3.f);
  });
}

TEST(Reducer, ADeadReducersHooksAreGone) {
  auto group = make_group(1);
  Tensor w = parameter(group->device(0), 1);
  {
    Reducer reducer(group, 0, {w}, {});
    EXPECT_TRUE(has_leaf_hooks(w));
  }
  EXPECT_FALSE(has_leaf_hooks(w));
}

}  // namespace
}  // namespace weft
