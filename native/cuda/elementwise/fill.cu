// Constant and counting fills on CUDA. Called through the kernel table.
#include <cstring>

#include "cuda/elementwise/elementwise.cuh"
#include "cuda/kernel_list.h"
#include "fabric/half.h"

namespace weft::cuda {
namespace {

constexpr int kFillUnroll = 4;

/// `n` packs of 16 bytes; the host repeats the element in them.
__global__ void __launch_bounds__(kElementThreads)
    fill_packs_kernel(uint4* out, int64_t n, uint4 pattern) {
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x * kFillUnroll + threadIdx.x;
#pragma unroll
  for (int u = 0; u < kFillUnroll; ++u, i += blockDim.x)
    if (i < n) out[i] = pattern;
}

template <typename T>
__global__ void __launch_bounds__(kElementThreads) fill_kernel(StridedLoop<1> loop, T value) {
  const uint32_t item = blockIdx.x * kElementThreads + threadIdx.x;
  if (item >= loop.items) return;
  int64_t at[1];
  loop.offsets(item, at);
  *reinterpret_cast<T*>(loop.data[0] + at[0]) = value;
}

template <typename T>
void fill_elements(const TensorIterator& out, uint64_t bits, cudaStream_t s) {
  for_each_piece(out, [&](const TensorIterator& piece) {
    StridedLoop<1> loop(piece, 1);
    fill_kernel<T><<<block_count(loop.items, kElementThreads), kElementThreads, 0, s>>>(
        loop, static_cast<T>(bits));
    check_launch("fill");
  });
}

/// The bytes of one element.
uint64_t element_bits(double value, DType dtype) {
  const auto narrow = static_cast<float>(value);
  auto bits_of = [](auto v) {
    uint64_t bits = 0;
    std::memcpy(&bits, &v, sizeof(v));
    return bits;
  };
  switch (dtype) {
    case DType::kF32:
      return bits_of(narrow);
    case DType::kF64:
      return bits_of(value);
    case DType::kF16:
      return bits_of(fabric::F16(narrow));
    case DType::kBF16:
      return bits_of(fabric::BF16(narrow));
    case DType::kI64:
      return bits_of(lane_number<int64_t>(value));
    case DType::kI32:
      if (value >= 0x1p31) return bits_of(std::numeric_limits<int32_t>::max());
      return bits_of(value > -0x1p31    ? static_cast<int32_t>(value)
                     : value <= -0x1p31 ? std::numeric_limits<int32_t>::min()
                                        : 0);
    case DType::kU8:
      return value >= 255 ? 255 : (value > 0 ? static_cast<uint8_t>(value) : 0);
    case DType::kBool:
      return value != 0;
  }
  return 0;
}

template <typename T, int V>
__global__ void __launch_bounds__(kElementThreads)
    range_kernel(T* out, int64_t n, double start, double step) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x) * V;
#pragma unroll
  for (int k = 0; k < V; ++k)
    if (i + k < n) out[i + k] = convert<T>(start + static_cast<double>(i + k) * step);
}

template <typename T>
void launch_range(const RangeArgs& args, cudaStream_t s) {
  constexpr int V = 4;
  range_kernel<T, V><<<block_count(args.count, kElementThreads * V), kElementThreads, 0, s>>>(
      static_cast<T*>(args.out), args.count, args.start, args.step);
  check_launch("arange");
}

}  // namespace

void fill(const TensorIterator& out, double value, Stream& stream) {
  if (out.numel == 0) return;
  const cudaStream_t s = enter(stream);
  const DType dtype = out.operand[0].dtype;
  const auto size = static_cast<int64_t>(dtype_bytes(dtype));
  const uint64_t bits = element_bits(value, dtype);
  char* data = out.operand[0].data;
  const int64_t bytes = out.numel * size;
  if (out.contiguous && is_aligned(data, 16) && bytes % 16 == 0) {
    uint64_t repeated = bits;
    for (int64_t width = size * 8; width < 64; width *= 2) repeated |= repeated << width;
    const auto low = static_cast<uint32_t>(repeated), high = static_cast<uint32_t>(repeated >> 32);
    const int64_t packs = bytes / 16;
    fill_packs_kernel<<<block_count(packs, kElementThreads * kFillUnroll), kElementThreads, 0, s>>>(
        reinterpret_cast<uint4*>(data), packs, make_uint4(low, high, low, high));
    return check_launch("fill");
  }
  switch (size) {
    case 1:
      return fill_elements<uint8_t>(out, bits, s);
    case 2:
      return fill_elements<uint16_t>(out, bits, s);
    case 4:
      return fill_elements<uint32_t>(out, bits, s);
    default:
      return fill_elements<uint64_t>(out, bits, s);
  }
}

void range(const RangeArgs& args, Stream& stream) {
  if (args.count == 0) return;
  const cudaStream_t s = enter(stream);
  switch (args.dtype) {
    case DType::kF32:
      return launch_range<float>(args, s);
    case DType::kF64:
      return launch_range<double>(args, s);
    case DType::kF16:
      return launch_range<F16>(args, s);
    case DType::kBF16:
      return launch_range<BF16>(args, s);
    case DType::kI64:
      return launch_range<int64_t>(args, s);
    case DType::kI32:
      return launch_range<int32_t>(args, s);
    case DType::kU8:
      return launch_range<uint8_t>(args, s);
    case DType::kBool:
      return launch_range<Bool>(args, s);
  }
}

}  // namespace weft::cuda
