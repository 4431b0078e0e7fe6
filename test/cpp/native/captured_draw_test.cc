// Random numbers and optimizer steps while a device captures: those on the captured streams belong
// to the graph, all others run now with their own numbers.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "dispatch/op_table.h"
#include "graph/step_graph.h"
#include "host_values.h"
#include "ops/ops.h"
#include "random/generator.h"

namespace weft {
namespace {

using test::host;

Tensor draw() {
  return call(Op::uniform, {Dims{64}, 0.0, 1.0, DType::kF32, static_cast<int64_t>(host().index())});
}
/// While a capture goes on too, on streams outside it.
std::vector<float> read(const Tensor& t, Stream& stream) {
  EXPECT_TRUE(host().driver().synchronize_stream(stream.handle(), 10'000));
  return {t.data_as<float>(), t.data_as<float>() + t.numel()};
}

TEST(CapturedDraws, ADrawOnAnotherStreamRunsNowWithTheGeneratorsNumbers) {
  ensure_registered();
  Stream& side = host().create_stream();
  seed_device(host(), 7);
  std::vector<float> expected, after_capture;
  {
    StreamGuard guard(side);
    expected = read(draw(), side);
    after_capture = read(draw(), side);
  }
  seed_device(host(), 7);
  std::vector<float> eager;
  Tensor captured;
  {
    StepGraph step({&host()});
    captured = draw();
    std::thread other([&] {
      StreamGuard guard(side);
      eager = read(draw(), side);
    });
    other.join();
    step.end();
    EXPECT_EQ(eager, expected);
    step.write(0, {});
    step.launch();
    EXPECT_EQ(read(captured, host().compute()),
              after_capture);  // the graph's run comes next in the sequence
    captured = Tensor();
  }
}

TEST(CapturedDraws, AnOptimizerStepOnAnotherStreamUsesItsOwnRate) {
  ensure_registered();
  Stream& side = host().create_stream();
  auto sgd = [](const Tensor& p, const Tensor& g, double lr) {
    call(Op::sgd_step, {std::vector<Tensor>{p}, std::vector<Tensor>{g}, std::vector<Tensor>{}, lr,
                        0.0, 0.0, 0.0, false, true, Tensor()});
  };
  Tensor p = ops::full({4}, 1, DType::kF32, host()), g = ops::full({4}, 1, DType::kF32, host());
  Tensor q = ops::full({4}, 1, DType::kF32, host());
  host().compute().synchronize();
  StepGraph step({&host()});
  sgd(q, g, 0.5);
  {
    StreamGuard guard(side);
    sgd(p, g, 0.25);
  }
  EXPECT_EQ(read(p, side), std::vector<float>(4, 0.75));
  step.end();
  ASSERT_EQ(step.calls(0), 1u);
  const double rates[] = {0.125, 1};
  step.write(0, rates);
  step.launch();
  EXPECT_EQ(read(q, host().compute()), std::vector<float>(4, 0.875));
}

}  // namespace
}  // namespace weft
