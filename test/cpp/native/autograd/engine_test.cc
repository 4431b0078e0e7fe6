// The backward engine: shared intermediates, several roots, retained graphs, in-place guards,
// hooks, several devices, several threads.
#include "autograd/engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "autograd/leaf.h"
#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

Device& host(int i) { return fabric::open_device("host:" + std::to_string(i)); }

Tensor filled(const Dims& shape, double value, int device = 0) {
  ensure_registered();
  return ops::full(shape, value, DType::kF32, host(device));
}
Tensor leaf(const Dims& shape, double value, int device = 0) {
  Tensor t = filled(shape, value, device);
  set_requires_grad(t, true);
  return t;
}
std::vector<float> values(const Tensor& t) {
  Tensor dense = ops::contiguous(t);
  EXPECT_TRUE(t.device().driver().synchronize_stream(current_stream(t.device()).handle(), 10'000));
  std::vector<float> v(static_cast<size_t>(dense.numel()));
  std::memcpy(v.data(), dense.data(), v.size() * sizeof(float));
  return v;
}
void run(const Tensor& root, BackwardOptions options = {}) {
  Tensor none;
  backward({&root, 1}, {&none, 1}, options);
}
Tensor grad(const Tensor& t) { return t->autograd ? t->autograd->grad : Tensor(); }

TEST(Engine, ASharedIntermediateGetsTheSumOfItsUses) {
  Tensor x = leaf({3}, 2);
  Tensor y = call(Op::mul, {x, x});                      // x^2
  Tensor z = call(Op::add, {call(Op::mul, {y, x}), y});  // x^3 + x^2
  run(call(Op::sum, {z, Dims{}, false}));
  for (float g : values(grad(x))) EXPECT_FLOAT_EQ(g, 3 * 4 + 2 * 2);
}

TEST(Engine, SeveralRootsAccumulateOnce) {
  Tensor x = leaf({1}, 3);
  Tensor a = call(Op::mul_scalar, {x, 2.0}), b = call(Op::mul, {x, x});
  Tensor roots[] = {a, b}, none[] = {Tensor(), Tensor()};
  backward(roots, none);
  EXPECT_FLOAT_EQ(values(grad(x))[0], 2 + 6);
}

TEST(Engine, ASecondBackwardNeedsRetainGraph) {
  Tensor x = leaf({1}, 3);
  Tensor y = call(Op::mul, {x, x});
  run(y, {.retain_graph = true});
  run(y);
  EXPECT_FLOAT_EQ(values(grad(x))[0], 12);
  EXPECT_THROW(run(y), Error);
}

TEST(Engine, AnInPlaceWriteOnASavedTensorNamesTheOperator) {
  Tensor x = leaf({2}, 3), w = filled({2}, 2);
  Tensor y = call(Op::sum, {call(Op::mul, {x, w}), Dims{}, false});
  call(Op::add_scalar_, {w, 1.0});
  try {
    run(y);
    FAIL() << "a saved tensor was changed in place unnoticed";
  } catch (const Error& e) {
    EXPECT_NE(e.message().find("mul"), std::string::npos);
    EXPECT_NE(e.message().find("add_scalar_"), std::string::npos);
  }
}

TEST(Engine, ALeafCannotBeChangedInPlaceWhileRecording) {
  Tensor x = leaf({2}, 3);
  EXPECT_THROW(call(Op::add_scalar_, {x, 1.0}), Error);
  NoGradGuard guard;
  EXPECT_NO_THROW(call(Op::add_scalar_, {x, 1.0}));
}

TEST(Engine, AViewWhoseMemoryChangedCannotBeUsed) {
  Tensor x = leaf({2, 2}, 3);
  Tensor y = call(Op::mul_scalar, {x, 2.0});
  Tensor view = call(Op::view, {y, Dims{4}});
  call(Op::mul_scalar_, {y, 2.0});
  EXPECT_THROW(call(Op::exp, {view}), Error);
}

TEST(Engine, InPlaceOnAResultIsPartOfTheHistory) {
  Tensor x = leaf({2}, 3);
  Tensor y = call(Op::mul_scalar, {x, 2.0});
  call(Op::mul_scalar_, {y, 5.0});
  run(call(Op::sum, {y, Dims{}, false}));
  EXPECT_FLOAT_EQ(values(grad(x))[0], 10);
}

TEST(Engine, HooksReplaceTheGradientAndLeafHooksRunAfterwards) {
  Tensor x = leaf({1}, 3);
  Tensor y = call(Op::mul_scalar, {x, 2.0});
  add_tensor_hook(y, [](const Tensor& g) { return ops::mul_scalar(g, 10); });
  float seen = 0;
  add_leaf_hook(x, [&] { seen = values(grad(x))[0]; });
  run(y);
  EXPECT_FLOAT_EQ(seen, 20);
}

TEST(Engine, ALongChainIsFreedWithoutDeepRecursion) {
  Tensor x = leaf({1}, 0);
  Tensor y = x;
  for (int i = 0; i < 200'000; ++i) y = call(Op::add_scalar, {y, 1.0});
  run(y);
  EXPECT_FLOAT_EQ(values(grad(x))[0], 1);
  y = Tensor();
}

TEST(Engine, NothingStaysAliveAfterBackward) {
  auto before = tensor_counts(host(0)).tensors;
  {
    Tensor x = leaf({8}, 1);
    Tensor y = call(Op::tanh, {call(Op::exp, {call(Op::mul, {x, x})})});
    run(call(Op::sum, {y, Dims{}, false}));
  }
  EXPECT_EQ(tensor_counts(host(0)).tensors, before);
}

TEST(Engine, AGraphOverDevicesGivesTheSameGradientsAsOnOne) {
  Tensor x = leaf({1000}, 0.5);
  Tensor sum;
  for (int d = 0; d < 4; ++d) {
    Tensor there = call(Op::to_device, {x, static_cast<int64_t>(host(d).index())});
    Tensor y = call(Op::mul_scalar, {call(Op::mul, {there, there}), d + 1.0});
    Tensor back = call(Op::to_device, {y, static_cast<int64_t>(host(0).index())});
    sum = sum ? call(Op::add, {sum, back}) : back;
  }
  run(call(Op::sum, {sum, Dims{}, false}));
  for (float g : values(grad(x))) ASSERT_FLOAT_EQ(g, 2 * 0.5 * (1 + 2 + 3 + 4));
}

TEST(Engine, SeveralDeviceGraphsRepeatBitForBit) {
  std::vector<float> first;
  for (int round = 0; round < 20; ++round) {
    Tensor x = leaf({257}, 0.3);
    Tensor sum;
    for (int d = 0; d < 4; ++d) {
      Tensor there = call(Op::to_device, {x, static_cast<int64_t>(host(d).index())});
      Tensor y = call(Op::exp, {call(Op::mul_scalar, {there, 0.1 * (d + 1)})});
      Tensor back = call(Op::to_device, {y, static_cast<int64_t>(host(0).index())});
      sum = sum ? call(Op::add, {sum, back}) : back;
    }
    run(call(Op::sum, {sum, Dims{}, false}));
    auto now = values(grad(x));
    if (first.empty()) first = now;
    ASSERT_EQ(std::memcmp(first.data(), now.data(), now.size() * sizeof(float)), 0);
  }
}

TEST(Engine, HooksOfAGraphOverDevicesRunOnTheCallingThread) {
  Tensor x = leaf({4}, 1);
  Tensor there = call(Op::to_device, {x, static_cast<int64_t>(host(1).index())});
  Tensor y = call(Op::mul, {there, there});
  auto caller = std::this_thread::get_id();
  std::thread::id seen;
  add_tensor_hook(y, [&](const Tensor&) {
    seen = std::this_thread::get_id();
    return Tensor();
  });
  run(call(Op::sum, {y, Dims{}, false}));
  EXPECT_EQ(seen, caller);
}

TEST(Engine, AnErrorOnOneDeviceReachesTheCaller) {
  Tensor x = leaf({4}, 1);
  Tensor w = filled({4}, 2, 1);
  Tensor there = call(Op::to_device, {x, static_cast<int64_t>(host(1).index())});
  Tensor y = call(Op::sum, {call(Op::mul, {there, w}), Dims{}, false});
  call(Op::add_scalar_, {w, 1.0});
  EXPECT_THROW(run(y), Error);
}

// What ends the fabric runs in a process of its own.
TEST(Engine, APassWhoseFormulaNeverReturnsEndsAtItsLimit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Tensor x = leaf({4}, 1);
        Tensor y = call(Op::mul_scalar,
                        {call(Op::to_device, {x, static_cast<int64_t>(host(1).index())}), 2.0});
        std::promise<void> leave;
        autograd_meta(y).grad_fn->custom = [&](std::span<Tensor>, std::span<Tensor>) {
          leave.get_future().wait_for(std::chrono::seconds(30));
        };
        std::string message;
        try {
          run(call(Op::sum, {y, Dims{}, false}), {.limit = std::chrono::milliseconds(50)});
        } catch (const Error& error) {
          if (error.code() == ErrorCode::kPoisoned) message = error.message();
        }
        leave.set_value();  // the worker still finds its task
        const bool told = message.find("must restart") != std::string::npos &&
                          message.find("within 50 ms: 1 nodes were left") != std::string::npos;
        std::_Exit(told ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(Engine, SeveralBackwardPassesRunAtOnce) {
  Tensor shared = leaf({64}, 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        Tensor y = call(Op::sum, {call(Op::mul_scalar, {shared, 2.0}), Dims{}, false});
        run(y);
      }
    });
  }
  for (auto& t : threads) t.join();
  for (float g : values(grad(shared))) ASSERT_FLOAT_EQ(g, 200);
}

}  // namespace
}  // namespace weft
