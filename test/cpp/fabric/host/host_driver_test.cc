// The host driver's work: copies, fills, combinations of every dtype, peers, and its properties.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "fabric/faults.h"
#include "fabric/half.h"
#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;

template <typename T>
std::vector<T> combined(DType dtype, std::vector<T> a, std::vector<T> b, ReduceOp op,
                        double scale = 1.0) {
  Device& device = open_device("host:43");
  std::vector<T> result(a.size());
  device.driver().combine(result.data(), a.data(), b.data(), a.size(), dtype, op, scale, 43,
                          device.compute().handle());
  device.synchronize();
  return result;
}

TEST(HostDriver, CombinesIntegersAndFloats) {
  using VF = std::vector<float>;
  using VI = std::vector<int32_t>;
  const VF a{1, -2, 3}, b{4, 5, -6};
  EXPECT_EQ(combined(DType::kF32, a, b, ReduceOp::kSum), (VF{5, 3, -3}));
  EXPECT_EQ(combined(DType::kF32, a, b, ReduceOp::kAvg, 0.5), (VF{2.5, 1.5, -1.5}));
  EXPECT_EQ(combined(DType::kF32, a, b, ReduceOp::kMax), (VF{4, 5, 3}));
  EXPECT_EQ(combined(DType::kF32, a, b, ReduceOp::kMin), (VF{1, -2, -6}));
  EXPECT_EQ(combined(DType::kF32, a, b, ReduceOp::kProd), (VF{4, -10, -18}));
  EXPECT_EQ(combined(DType::kI32, VI{7, -8}, VI{2, 3}, ReduceOp::kSum), (VI{9, -5}));
  EXPECT_EQ(combined(DType::kI32, VI{7, -8}, VI{2, 3}, ReduceOp::kProd), (VI{14, -24}));
  const int32_t top = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(combined(DType::kI32, VI{top}, VI{1}, ReduceOp::kSum)[0],
            std::numeric_limits<int32_t>::min());
  EXPECT_EQ(combined<double>(DType::kF64, {1e300}, {1e299}, ReduceOp::kSum)[0], 1e300 + 1e299);
  EXPECT_EQ(combined<int64_t>(DType::kI64, {int64_t{1} << 60}, {1}, ReduceOp::kSum)[0],
            (int64_t{1} << 60) + 1);
  EXPECT_EQ(combined<uint8_t>(DType::kU8, {200}, {100}, ReduceOp::kMax)[0], 200);
  EXPECT_EQ(combined<uint8_t>(DType::kBool, {1, 0, 1}, {0, 0, 1}, ReduceOp::kSum),
            (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(combined<uint8_t>(DType::kBool, {1, 0, 1}, {0, 0, 1}, ReduceOp::kMin),
            (std::vector<uint8_t>{0, 0, 1}));
}

TEST(HostDriver, CombinesHalfPrecisionInSinglePrecision) {
  // 1000.5 is not representable in bf16: each operand rounds, the sum is taken in f32 and rounds
  // once.
  std::vector<BF16> a, b;
  std::vector<F16> c, d;
  for (int i = 0; i < 300; ++i) {
    a.emplace_back(static_cast<float>(i) * 0.37f);
    b.emplace_back(1000.5f - static_cast<float>(i));
    c.emplace_back(static_cast<float>(i) * 0.37f);
    d.emplace_back(100.5f - static_cast<float>(i));
  }
  const auto bf = combined(DType::kBF16, a, b, ReduceOp::kSum, 0.25);
  const auto hf = combined(DType::kF16, c, d, ReduceOp::kSum);
  for (size_t i = 0; i < 300; ++i) {
    EXPECT_EQ(bf[i].bits, BF16((static_cast<float>(a[i]) + static_cast<float>(b[i])) * 0.25f).bits);
    EXPECT_EQ(hf[i].bits, F16(static_cast<float>(c[i]) + static_cast<float>(d[i])).bits);
  }
}

TEST(HostDriver, MaxAndMinKeepNaN) {
  const float nan = std::nanf("");
  for (ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin}) {
    const auto result = combined<float>(DType::kF32, {nan, 1, 2}, {1, nan, 3}, op);
    EXPECT_TRUE(std::isnan(result[0]));
    EXPECT_TRUE(std::isnan(result[1]));
    EXPECT_FALSE(std::isnan(result[2]));
  }
}

TEST(HostDriver, CombinesInPlaceOverManyChunks) {
  Device& device = fresh_device();
  const size_t count = 1'000'003;
  std::vector<float> a(count, 1.5f), b(count, 2.0f);
  device.driver().combine(a.data(), a.data(), b.data(), count, DType::kF32, ReduceOp::kSum, 1.0,
                          device.ordinal(), device.compute().handle());
  device.driver().combine(b.data(), a.data(), b.data(), count, DType::kF32, ReduceOp::kProd, 1.0,
                          device.ordinal(), device.compute().handle());
  device.synchronize();
  for (size_t i = 0; i < count; ++i) {
    ASSERT_EQ(a[i], 3.5f);
    ASSERT_EQ(b[i], 7.0f);
  }
}

TEST(HostDriver, CopiesAndFillsInStreamOrder) {
  Device& device = fresh_device();
  Driver& driver = device.driver();
  std::vector<char> a(9 << 20), b(9 << 20);
  StreamHandle stream = device.compute().handle();
  driver.fill(a.data(), device.ordinal(), 3, a.size(), stream);
  driver.copy(b.data(), kHostMemory, a.data(), device.ordinal(), a.size(), stream);
  driver.fill(a.data(), device.ordinal(), 4, a.size(), stream);
  driver.copy(a.data(), device.ordinal(), a.data(), device.ordinal(), a.size(), stream);
  driver.copy(a.data(), device.ordinal(), b.data(), device.ordinal(), 0, stream);
  device.synchronize();
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i], 4);
    ASSERT_EQ(b[i], 3);
  }
}

TEST(HostDriver, ALostPeerRefusesDirectCopiesOnly) {
  Device& a = open_device("host:44");
  Device& b = open_device("host:45");
  Driver& driver = a.driver();
  int from = 5, to = 0;
  EXPECT_TRUE(driver.can_access_peer(44, 45));
  faults::set_peer_access(44, 45, false);
  EXPECT_FALSE(driver.can_access_peer(44, 45));
  EXPECT_FALSE(driver.can_access_peer(45, 44));
  EXPECT_TRUE(driver.can_access_peer(44, 44));
  auto code = [](auto&& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kNone;
  };
  EXPECT_EQ(code([&] { driver.enable_peer(44, 45); }), ErrorCode::kPeerAccess);
  EXPECT_EQ(code([&] { driver.copy(&to, 45, &from, 44, 4, b.compute().handle()); }),
            ErrorCode::kPeerAccess);
  driver.copy(&to, kHostMemory, &from, 44, 4, a.compute().handle());
  a.synchronize();
  EXPECT_EQ(to, 5);
  faults::clear();
  EXPECT_NO_THROW(driver.enable_peer(44, 45));
}

TEST(HostDriver, TellsWhatItRunsOn) {
  Driver& driver = *find_driver(DriverKind::kHost);
  const DeviceProperties properties = driver.properties(3);
  EXPECT_FALSE(properties.model.empty());
  EXPECT_GT(properties.total_bytes, uint64_t{1} << 28);
  EXPECT_GE(properties.multiprocessors, 1);
  EXPECT_EQ(properties.capability_major, 0);
  EXPECT_EQ(driver.device_count(), 64);
  EXPECT_THROW(driver.properties(64), Error);
  EXPECT_EQ(driver.alloc(0, size_t{1} << 60), nullptr);  // by value, not by exception
}

TEST(HostDriver, HalfConversionsAgreeWithTheReferenceEverywhere) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    F16 half;
    half.bits = static_cast<uint16_t>(bits);
    const float value = static_cast<float>(half);
    const float plain = F16::decode(half.bits);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(plain));
      continue;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(plain)) << bits;
    ASSERT_EQ(F16(value).bits, half.bits);
    ASSERT_EQ(F16::encode(value), half.bits);
    const float between = std::nextafter(value, 1e9f);
    ASSERT_EQ(F16(between).bits, F16::encode(between)) << between;
  }
}

}  // namespace
}  // namespace fabric
