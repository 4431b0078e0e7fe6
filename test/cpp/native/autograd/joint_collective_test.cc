// Joint nodes and the collectives on them: run once for all devices, zeros where no gradient came,
// ordered by events whatever stream the forward ran on, several passes at once, no host wait.
#include "parallel/joint_collective.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "autograd/engine.h"
#include "autograd/joint.h"
#include "autograd/leaf.h"
#include "fabric/faults.h"
#include "fabric/gate.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft {
namespace {

using fabric::CollectiveKind;
using fabric::Group;

constexpr int kRanks = 3;
constexpr int64_t kTimeoutMs = 20'000;
/// Long enough for a stream that nothing holds.
constexpr int64_t kNotHeldMs = 200;

std::vector<Device*> devices() {
  std::vector<Device*> all;
  for (int r = 0; r < kRanks; ++r) {
    all.push_back(&fabric::open_device("host:" + std::to_string(r)));
  }
  return all;
}
std::vector<Tensor> leaves(int64_t count = 6) {
  ensure_registered();
  std::vector<Tensor> all;
  for (Device* device : devices()) {
    all.push_back(ops::full({count}, static_cast<double>(all.size() + 1), DType::kF32, *device));
    set_requires_grad(all.back(), true);
  }
  return all;
}
std::vector<double> read(const Tensor& t) {
  current_stream(t.device()).synchronize(kTimeoutMs);
  return test::values(t);
}
std::vector<double> grad(const Tensor& leaf) { return read(leaf_grad(leaf)); }
void run(const std::vector<Tensor>& roots) {
  std::vector<Tensor> gradients;
  for (const Tensor& root : roots) {
    gradients.push_back(ops::full(root.shape(), 1, root.dtype(), root.device()));
  }
  backward(roots, gradients);
}

TEST(JointNode, RunsOnceWithZerosForTheSlotsNobodyReached) {
  std::vector<Tensor> x = leaves(), y;
  for (const Tensor& t : x) y.push_back(ops::clone(t));
  std::atomic<int> runs{0};
  record_joint("test", x, y, [&](std::span<Tensor> grads, std::span<Tensor> results) {
    ++runs;
    for (size_t i = 0; i < grads.size(); ++i) results[i] = grads[i];
  });
  run({y[1]});
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(grad(x[0]), std::vector<double>(6, 0));
  EXPECT_EQ(grad(x[1]), std::vector<double>(6, 1));
  EXPECT_EQ(grad(x[2]), std::vector<double>(6, 0));
}

TEST(JointCollective, IsOrderedByEventsOnTheStreamsOfItsForward) {
  auto group = Group::create(devices());
  std::vector<Tensor> x = leaves(1 << 14), y;
  {
    std::vector<std::unique_ptr<StreamGuard>> guards;
    for (Device* device : devices()) {
      Stream& side = device->create_stream();
      fabric::order_after(side, device->compute());
      guards.push_back(std::make_unique<StreamGuard>(side));
    }
    y = joint_collective(group, {}, x);
    y = joint_collective(
        group, {.kind = CollectiveKind::kReduceScatter},
        std::vector<Tensor>{joint_collective(group, {.kind = CollectiveKind::kAllGather}, y)});
  }
  for (int r = 0; r < kRanks; ++r) fabric::faults::set_device_delay_us(r, 300 * (r + 1));
  const uint64_t waits = fabric::host_waits();
  run(y);
  EXPECT_EQ(fabric::host_waits(), waits);
  for (Device* device : devices()) device->synchronize(kTimeoutMs);
  EXPECT_GT(fabric::host_waits(), waits);  // the count counts
  fabric::faults::clear();
  // Gather and scatter multiply by the ranks, the sum over ranks does too.
  for (const Tensor& t : x) EXPECT_EQ(grad(t), std::vector<double>(1 << 14, 9));
}

TEST(JointCollective, ItsAdjointWaitsForGradientsMadeOnOtherStreams) {
  auto group = Group::create(devices());
  std::vector<Tensor> x = leaves(), y;
  std::vector<Stream*> sides;
  {
    std::vector<std::unique_ptr<StreamGuard>> guards;
    for (Device* device : devices()) {
      sides.push_back(&device->create_stream());
      fabric::order_after(*sides.back(), device->compute());
      guards.push_back(std::make_unique<StreamGuard>(*sides.back()));
    }
    y = joint_collective(group, {}, x);
  }
  for (size_t r = 0; r < y.size(); ++r) {
    fabric::order_after(y[r].device().compute(), *sides[r]);
    y[r]->storage->use_on(y[r].device().compute());
    y[r] = call(Op::mul_scalar, {y[r], 2.0});
    y[r].device().synchronize(kTimeoutMs);
  }
  auto gate = std::make_shared<fabric::Gate>();
  for (Device* device : devices()) device->driver().hold(device->compute().handle(), gate);
  run(y);
  // The products' gradients are held on the compute streams.
  for (Stream* side : sides) {
    EXPECT_FALSE(side->device().driver().synchronize_stream(side->handle(), kNotHeldMs));
  }
  gate->open();
  for (const Tensor& t : x) EXPECT_EQ(grad(t), std::vector<double>(6, 6));
}

TEST(JointCollective, SeveralPassesAtOnceGiveTheSameGradients) {
  auto group = Group::create(devices());
  constexpr int kThreads = 4, kPasses = 10;
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int k = 0; k < kThreads; ++k) {
    threads.emplace_back([&, k] {
      for (int pass = 0; pass < kPasses; ++pass) {
        std::vector<Tensor> x = leaves();
        std::vector<Tensor> y = joint_collective(group, {}, x);
        for (Tensor& t : y) t = call(Op::mul_scalar, {t, static_cast<double>(k + 1)});
        run(y);
        bool same = true;
        for (const Tensor& t : x) same = same && grad(t) == std::vector<double>(6, 3.0 * (k + 1));
        right += same ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads * kPasses);
}

TEST(JointCollective, AnErrorOfTheAdjointReachesBackwardAndTheNextCallWorks) {
  auto group = Group::create(devices());
  std::vector<Tensor> x = leaves();
  std::vector<Tensor> y = joint_collective(group, {}, x);
  group->abort(Error(ErrorCode::kWorker, "stopped by a test"));
  try {
    run(y);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kWorker);
  }
  group->reset();
  run(joint_collective(group, {}, x));
  for (const Tensor& t : x) EXPECT_EQ(grad(t), std::vector<double>(6, 3));
}

}  // namespace
}  // namespace weft
