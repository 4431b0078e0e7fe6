// cat_to and copy_ over devices: kernels that read a peer's memory where it lies and the copies that
// take their place, with gradients, and ordered against what the peer does before and afterwards.
#include <gtest/gtest.h>

#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "fabric/faults.h"
#include "host_values.h"
#include "ops/ops.h"

namespace weft::test {
namespace {

constexpr int64_t kTimeoutMs = 20'000;

class PeerRead : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ensure_registered();
    for (int r = 0; r < 2; ++r) {
      devices_.push_back(&fabric::open_device("host:" + std::to_string(r)));
    }
    if (!GetParam()) {
      fabric::faults::set_peer_access(0, 1, false);
      fabric::faults::set_peer_access(1, 0, false);
    }
  }
  void TearDown() override { fabric::faults::clear(); }

  static std::vector<double> read(const Tensor& t) {
    current_stream(t.device()).synchronize(kTimeoutMs);
    return values(t);
  }
  std::vector<Device*> devices_;
};

TEST_P(PeerRead, PartsOfTwoDevicesAreJoinedWithTheirGradients) {
  std::vector<Tensor> parts;
  for (Device* device : devices_) {
    const auto value = static_cast<double>(parts.size() + 1);
    parts.push_back(ops::full({2, 2}, value, DType::kF32, *device));
    set_requires_grad(parts.back(), true);
  }
  for (Device* device : devices_) {
    for (Tensor& part : parts) zero_grad(part);
    Tensor joined = call(Op::cat_to, {parts, 1, static_cast<int>(device->index())});
    EXPECT_EQ(&joined.device(), device);
    Tensor loss = call(Op::mul, {joined, joined});
    backward(std::vector<Tensor>{loss},
             std::vector<Tensor>{ops::full(loss.shape(), 1, DType::kF32, *device)});
    EXPECT_EQ(read(joined), (std::vector<double>{1, 1, 2, 2, 1, 1, 2, 2}));
    EXPECT_EQ(read(leaf_grad(parts[0])), std::vector<double>(4, 2));
    EXPECT_EQ(read(leaf_grad(parts[1])), std::vector<double>(4, 4));
  }
}

TEST_P(PeerRead, ReadsBehindTheWriterAndBeforeTheNextOne) {
  for (int slow = 0; slow < 2; ++slow) {
    fabric::faults::set_device_delay_us(slow, 2000);
    Tensor source = ops::full({1 << 12}, 1, DType::kF32, *devices_[1]);
    Tensor target = ops::full({1 << 12}, 0, DType::kF64, *devices_[0]);
    call(Op::copy_, {target, source});
    call(Op::fill_, {source, 7.0});
    source = {};
    Tensor again = ops::full({1 << 12}, 9, DType::kF32, *devices_[1]);
    fabric::faults::set_device_delay_us(slow, 0);
    EXPECT_EQ(read(target), std::vector<double>(1 << 12, 1));
    EXPECT_EQ(read(again), std::vector<double>(1 << 12, 9));
  }
}

INSTANTIATE_TEST_SUITE_P(Over, PeerRead, testing::Bool(),
                         [](const auto& info) { return info.param ? "DirectAccess" : "Copies"; });

}  // namespace
}  // namespace weft::test
