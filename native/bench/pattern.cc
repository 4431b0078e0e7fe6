// See bench/pattern.h.
#include "bench/pattern.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "fabric/allocator.h"

namespace weft::bench {
namespace {

constexpr size_t kPeriod = 262'139;  // a prime
constexpr size_t kPieceBytes = 16u << 20;
constexpr int64_t kLimitMs = 60'000;

uint32_t value(size_t i, int rank) {
  return (static_cast<uint32_t>(i) * 2'654'435'761u >> 13) % 7 + static_cast<uint32_t>(rank) % 8;
}

// A whole number up to 256 as an element.
void store(char* to, uint32_t number, DType dtype) {
  const auto as_float = static_cast<float>(number);
  const auto bits = std::bit_cast<uint32_t>(as_float);
  uint16_t half = 0;
  switch (dtype) {
    case DType::kF32:
      std::memcpy(to, &as_float, 4);
      return;
    case DType::kF64: {
      const auto wide = static_cast<double>(number);
      std::memcpy(to, &wide, 8);
      return;
    }
    case DType::kBF16:
      half = static_cast<uint16_t>(bits >> 16);
      break;
    default:  // f16: the exponent's bias is 15 instead of 127
      if (number != 0) half = static_cast<uint16_t>((bits >> 13) - ((127u - 15u) << 10));
  }
  std::memcpy(to, &half, 2);
}

class Staging {
 public:
  explicit Staging(Device& device)
      : buffer_(fabric::acquire_staging(device.driver(), kPieceBytes)) {}
  ~Staging() { fabric::release_staging(buffer_, nullptr); }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  char* data() const { return static_cast<char*>(buffer_.ptr); }

 private:
  fabric::StagingBuffer buffer_;
};

}  // namespace

void drain(Device& device) { device.compute().synchronize(kLimitMs); }

SumPattern::SumPattern(DType dtype, int ranks) : dtype_(dtype), ranks_(ranks) {
  if (dtype != DType::kF32 && dtype != DType::kF64 && dtype != DType::kF16 &&
      dtype != DType::kBF16) {
    fail(ErrorCode::kDtype, "sums of %s are not measured; use f32, f16, bf16 or f64",
         dtype_name(dtype));
  }
  if (ranks > 16) {
    fail(ErrorCode::kUsage, "sums over %d ranks are not measured: they would not be exact in bf16",
         ranks);
  }
}

const std::vector<char>& SumPattern::table(int rank) {
  std::vector<char>& table = tables_[rank];
  if (!table.empty()) return table;
  const size_t element = dtype_bytes(dtype_);
  const size_t length = kPeriod + kPieceBytes / element;
  table.resize(length * element);
  for (size_t i = 0; i < length; ++i) {
    const size_t place = i % kPeriod;
    uint32_t number = 0;
    for (int r = 0; r < ranks_; ++r) {
      if (rank < 0 || r == rank) number += value(place, r);
    }
    store(table.data() + i * element, number, dtype_);
  }
  return table;
}

void SumPattern::fill(Device& device, int rank, void* memory, size_t bytes) {
  const size_t element = dtype_bytes(dtype_);
  const std::vector<char>& values = table(rank);
  const Staging staging(device);
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t piece = std::min(kPieceBytes, bytes - at);
    std::memcpy(staging.data(), values.data() + at / element % kPeriod * element, piece);
    device.driver().copy(static_cast<char*>(memory) + at, device.ordinal(), staging.data(),
                         fabric::kHostMemory, piece, device.compute().handle());
    drain(device);
  }
}

void SumPattern::spoil(Device& device, void* memory, size_t bytes) {
  device.driver().fill(memory, device.ordinal(), 0xa5, bytes, device.compute().handle());
  drain(device);
}

uint64_t SumPattern::wrong(Device& device, const void* memory, size_t bytes, size_t first,
                           int rank) {
  const size_t element = dtype_bytes(dtype_);
  const std::vector<char>& values = table(rank);
  const Staging staging(device);
  uint64_t wrong = 0;
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t piece = std::min(kPieceBytes, bytes - at);
    device.driver().copy(staging.data(), fabric::kHostMemory, static_cast<const char*>(memory) + at,
                         device.ordinal(), piece, device.compute().handle());
    drain(device);
    const char* want = values.data() + (first + at / element) % kPeriod * element;
    if (std::memcmp(staging.data(), want, piece) == 0) continue;
    for (size_t i = 0; i < piece; i += element) {
      wrong += std::memcmp(staging.data() + i, want + i, element) != 0;
    }
  }
  return wrong;
}

}  // namespace weft::bench
