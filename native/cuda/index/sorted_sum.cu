// The steps behind sorted_sum.h.
#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "cuda/arithmetic.cuh"
#include "cuda/element.cuh"
#include "cuda/index/sorted_sum.h"

namespace weft::cuda {
namespace {

constexpr int kTile = 32;      // sorted positions a tile
constexpr int kThreads = 256;  // of a block: x over columns, y over tiles
constexpr int kAhead = 8;      // rows whose loads are in flight together
static_assert(kTile % kAhead == 0);

__global__ void __launch_bounds__(kThreads) count_up_kernel(uint32_t* out, uint32_t n) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < n) out[i] = i;
}

/// What the kernels know of the sorted list.
struct Sorted {
  const uint32_t *keys, *positions;
  uint32_t count, limit;  ///< keys from `limit` on take no part
  int64_t width;

  __device__ __forceinline__ bool continues(uint32_t at) const {  // from the position before
    return at > 0 && at < count && keys[at - 1] == keys[at];
  }
};

/// Sums the runs of each tile. A run that lies within the tile is written; of one that began in an
/// earlier tile or goes on in a later one the part is kept: partials[tile][0] of the run that comes
/// in (also when it goes on), [1] of one that starts here and goes on.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    tile_kernel(Sorted sorted, const T* in, T* out, Lane<T>* partials, uint32_t tiles) {
  using L = Lane<T>;
  const uint32_t tile = blockIdx.x * blockDim.y + threadIdx.y;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (tile >= tiles || column >= sorted.width) return;
  const uint32_t begin = tile * kTile;
  const uint32_t end = begin + kTile < sorted.count ? begin + kTile : sorted.count;
  L* part = partials + static_cast<int64_t>(tile) * 2 * sorted.width + column;
  bool comes_in = sorted.continues(begin);
  uint32_t key = sorted.keys[begin];
  L sum = 0;
  for (uint32_t base = begin; base < end; base += kAhead) {
    uint32_t keys[kAhead];
    L x[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const bool present = base + k < end;
      keys[k] = present ? sorted.keys[base + k] : sorted.limit;
      x[k] = present && keys[k] < sorted.limit
                 ? convert<L>(in[sorted.positions[base + k] * sorted.width + column])
                 : L(0);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (base + k >= end) break;
      if (keys[k] != key) {  // the run of `key` ends before this position
        if (comes_in) {
          part[0] = sum;
        } else if (key < sorted.limit) {
          out[key * sorted.width + column] = convert<T>(sum);
        }
        comes_in = false;
        key = keys[k];
        sum = 0;
      }
      sum += x[k];
    }
  }
  if (comes_in) {
    part[0] = sum;
  } else if (sorted.continues(end)) {
    part[sorted.width] = sum;
  } else if (key < sorted.limit) {
    out[key * sorted.width + column] = convert<T>(sum);
  }
}

/// Puts together the runs that start in a tile and go on behind it, tile after tile.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    crossing_kernel(Sorted sorted, T* out, const Lane<T>* partials, uint32_t tiles) {
  using L = Lane<T>;
  const uint32_t tile = blockIdx.x * blockDim.y + threadIdx.y;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (tile + 1 >= tiles || column >= sorted.width) return;
  const uint32_t begin = tile * kTile, end = begin + kTile;
  if (!sorted.continues(end)) return;
  const uint32_t key = sorted.keys[end];
  if (key >= sorted.limit) return;
  // The same run fills the whole tile and comes from before: it starts elsewhere.
  if (sorted.keys[begin] == key && sorted.continues(begin)) return;
  const int64_t step = 2 * sorted.width;
  const L* part = partials + tile * step + column;
  L sum = part[sorted.width];
  uint32_t next = tile + 1;
  // Whole tiles of the run, then the one where it ends.
  while (next + 1 < tiles && sorted.keys[(next + 1) * kTile] == key) {
    sum += partials[next * step + column];
    ++next;
  }
  sum += partials[next * step + column];
  out[key * sorted.width + column] = convert<T>(sum);
}

/// Bytes rounded up so that what follows is aligned.
size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }

size_t sort_memory_bytes(int64_t count, int end_bit) {
  size_t bytes = 0;
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out,
                                        static_cast<uint32_t>(count), 0, end_bit),
        "sort of indices");
  return padded(bytes);
}

uint32_t tile_count(int64_t count) { return static_cast<uint32_t>(ceil_div(count, kTile)); }

size_t partial_bytes(const SortedSumArgs& args) {
  const size_t lane = args.dtype == DType::kF64 ? sizeof(double) : sizeof(float);
  return lane * 2 * static_cast<size_t>(args.width) * tile_count(args.count);
}

}  // namespace

SortedSum::SortedSum(const SortedSumArgs& args, Stream& stream)
    : args_(args),
      stream_(enter(stream)),
      end_bit_(std::bit_width(static_cast<uint64_t>(args.keys))),  // the key `keys` fits too
      list_bytes_(padded(sizeof(uint32_t) * static_cast<size_t>(args.count))),
      sort_bytes_(sort_memory_bytes(args.count, end_bit_)),
      scratch_(stream, 4 * list_bytes_ + sort_bytes_ + partial_bytes(args)) {
  char* at = scratch_.as<char>();
  keys_ = reinterpret_cast<uint32_t*>(at);
  sorted_keys_ = reinterpret_cast<uint32_t*>(at + list_bytes_);
  positions_ = reinterpret_cast<uint32_t*>(at + 2 * list_bytes_);
  sorted_positions_ = reinterpret_cast<uint32_t*>(at + 3 * list_bytes_);
  sort_memory_ = at + 4 * list_bytes_;
  partials_ = sort_memory_ + sort_bytes_;
}

void SortedSum::run() {
  const auto count = static_cast<uint32_t>(args_.count);
  count_up_kernel<<<block_count(count, kThreads), kThreads, 0, stream_>>>(positions_, count);
  check_launch("sort of indices");
  check(cub::DeviceRadixSort::SortPairs(sort_memory_, sort_bytes_, keys_, sorted_keys_, positions_,
                                        sorted_positions_, count, 0, end_bit_, stream_),
        "sort of indices");
  const Sorted sorted{sorted_keys_, sorted_positions_, count, static_cast<uint32_t>(args_.keys),
                      args_.width};
  const uint32_t tiles = tile_count(args_.count);
  int across = 1;
  while (across < kThreads && across < args_.width) across *= 2;
  const dim3 block(across, kThreads / across);
  const dim3 grid(block_count(tiles, block.y), block_count(args_.width, across));
  with_floating(args_.dtype, "gradient by index", [&](auto type) {
    using T = typename decltype(type)::type;
    auto* out = static_cast<T*>(args_.out);
    auto* partials = reinterpret_cast<Lane<T>*>(partials_);
    tile_kernel<T><<<grid, block, 0, stream_>>>(sorted, static_cast<const T*>(args_.in), out,
                                                partials, tiles);
    check_launch("gradient by index");
    if (tiles < 2) return;
    crossing_kernel<T><<<grid, block, 0, stream_>>>(sorted, out, partials, tiles);
    check_launch("gradient by index");
  });
}

}  // namespace weft::cuda
