// The backward pass on streams: what it enqueues is ordered by events, whatever stream the forward
// ran on. A gate holds one stream back, so that a missing edge shows itself each time.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "dispatch/work_log.h"
#include "fabric/gate.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using test::host;

constexpr int64_t kTimeoutMs = 10'000;
/// Long enough for a stream that nothing holds; a stream that waits is waited for this long once.
constexpr int64_t kNotHeldMs = 300;

Device& device(int i) { return fabric::open_device("host:" + std::to_string(i)); }

/// Holds what is enqueued on a stream from now on, until let go.
class Held {
 public:
  explicit Held(Stream& stream) : gate_(std::make_shared<fabric::Gate>()) {
    stream.device().driver().hold(stream.handle(), gate_);
  }
  ~Held() { gate_->open(); }
  void open() { gate_->open(); }

 private:
  std::shared_ptr<fabric::Gate> gate_;
};

bool done(Stream& stream, int64_t limit = kTimeoutMs) {
  return stream.device().driver().synchronize_stream(stream.handle(), limit);
}

/// Memory that the next tensors get again, full of a number that no test expects.
void spoil(Device& device, Stream& stream) {
  StreamGuard guard(stream);
  std::vector<Tensor> list;
  for (int i = 0; i < 16; ++i) list.push_back(ops::full({4}, 777, DType::kF32, device));
  ASSERT_TRUE(done(stream));
}

Tensor leaf(Device& where, double value) {
  ensure_registered();
  Tensor t = ops::full({4}, value, DType::kF32, where);
  EXPECT_TRUE(done(current_stream(where)));
  set_requires_grad(t, true);
  return t;
}
std::vector<double> read(const Tensor& t) {
  EXPECT_TRUE(done(t.device().compute()));
  return test::values(t);
}
void run(const Tensor& root, const Tensor& gradient = Tensor()) {
  backward({&root, 1}, {&gradient, 1});
}
const std::vector<double> kFours(4, 4);

TEST(EngineStreams, TheFirstGradientIsMadeWhereTheRootWas) {
  Stream& side = host().create_stream();
  Tensor x = leaf(host(), 2), loss;
  {
    StreamGuard guard(side);
    loss = call(Op::sum, {call(Op::mul, {x, x}), Dims{}, false});
  }
  fabric::order_after(host().compute(), side);
  spoil(host(), host().compute());
  Held held(host().compute());
  run(loss);
  EXPECT_TRUE(done(side));  // before anything on the compute stream has run
  held.open();
  EXPECT_EQ(read(x->autograd->grad), kFours);
}

TEST(EngineStreams, AGivenGradientIsWaitedForOnTheRootsStream) {
  Stream& side = host().create_stream();
  Tensor x = leaf(host(), 2), y;
  {
    StreamGuard guard(side);
    y = call(Op::mul, {x, x});
  }
  spoil(host(), host().compute());
  Held held(host().compute());
  Tensor gradient = ops::full({4}, 1, DType::kF32, host());  // on the held stream
  run(y, gradient);
  EXPECT_FALSE(done(side, kNotHeldMs)) << "the gradient was used before it was made";
  held.open();
  EXPECT_EQ(read(x->autograd->grad), kFours);
}

TEST(EngineStreams, ASumOfGradientsRunsOnTheConsumersStream) {
  Stream& side = host().create_stream();
  Tensor x = leaf(host(), 2), loss;
  {
    StreamGuard guard(side);
    Tensor y = call(Op::mul_scalar, {x, 1.0});
    loss = call(Op::sum,
                {call(Op::add, {call(Op::mul_scalar, {y, 1.5}), call(Op::mul_scalar, {y, 2.5})}),
                 Dims{}, false});
  }
  Held held(host().compute());
  run(loss);
  EXPECT_TRUE(done(side));
  held.open();
  EXPECT_EQ(read(x->autograd->grad), kFours);
}

TEST(EngineStreams, PartsFromTwoStreamsMeetOnTheThird) {
  Stream& a = host().create_stream();
  Stream& b = host().create_stream();
  Tensor x = leaf(host(), 2), y = call(Op::mul_scalar, {x, 1.0}), left, right;
  fabric::order_after(a, host().compute());
  fabric::order_after(b, host().compute());
  {
    StreamGuard guard(a);
    left = call(Op::mul_scalar, {y, 1.5});
  }
  {
    StreamGuard guard(b);
    right = call(Op::mul_scalar, {y, 2.5});
  }
  fabric::order_after(host().compute(), a);
  fabric::order_after(host().compute(), b);
  Tensor loss = call(Op::sum, {call(Op::add, {left, right}), Dims{}, false});
  ASSERT_TRUE(done(host().compute()));
  spoil(host(), a);
  spoil(host(), b);
  Held held_a(a), held_b(b);
  run(loss);
  EXPECT_FALSE(done(host().compute(), kNotHeldMs));
  held_a.open();
  held_b.open();
  EXPECT_EQ(read(x->autograd->grad), kFours);
}

TEST(EngineStreams, LeavesAccumulateOnTheStreamThatCalledBackward) {
  Stream& side = host().create_stream();
  for (const bool far : {false, true}) {  // the engine of one device, that of several
    Tensor x = leaf(host(), 2), y = call(Op::mul, {x, x});
    if (far) {
      const auto there = static_cast<int64_t>(device(1).index());
      const auto here = static_cast<int64_t>(host().index());
      y = call(Op::to_device, {call(Op::to_device, {y, there}), here});
    }
    Tensor loss = call(Op::sum, {y, Dims{}, false});
    replace_grad(x, ops::full({4}, 0, DType::kF32, host()));  // so that there is a sum to enqueue
    ASSERT_TRUE(done(host().compute()));
    const uint64_t since = fabric::event_log::read(0, 0).next_sequence;
    fabric::event_log::set_mode(fabric::LogMode::kBasic);
    {
      StreamGuard guard(side);
      run(loss);
    }
    fabric::event_log::set_mode(fabric::LogMode::kOff);
    int sums = 0;
    for (const auto& event : fabric::event_log::read(since, 1000).events) {
      if (event.detail >> 16 != static_cast<uint32_t>(Work::kGradientAccumulate)) continue;
      EXPECT_EQ(event.stream, side.id()) << "far " << far;
      ++sums;
    }
    EXPECT_EQ(sums, 1);
    ASSERT_TRUE(done(side));
    EXPECT_EQ(test::values(x->autograd->grad), kFours) << "far " << far;
  }
}

TEST(EngineStreams, AGradientThatCrossesDevicesWaitsForTheStreamItCameOn) {
  Device& there = device(1);
  Stream& side = there.create_stream();
  Tensor x = leaf(there, 2), y, loss;
  {
    StreamGuard guard(side);
    y = call(Op::mul, {x, x});
  }
  fabric::order_after(there.compute(), side);
  loss = call(Op::sum,
              {call(Op::to_device, {y, static_cast<int64_t>(host().index())}), Dims{}, false});
  ASSERT_TRUE(done(host().compute()) && done(there.compute()));
  spoil(there, there.compute());
  Held held(there.compute());  // the copy back arrives here, the formula of mul runs on `side`
  run(loss);
  EXPECT_FALSE(done(side, kNotHeldMs)) << "the gradient was used before it was copied";
  held.open();
  EXPECT_EQ(read(x->autograd->grad), kFours);
}

}  // namespace
}  // namespace weft
