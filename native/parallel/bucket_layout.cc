// See bucket_layout.h.
#include "parallel/bucket_layout.h"

#include <algorithm>

namespace weft {
namespace {

constexpr int64_t kPlaceBytes = 16;
constexpr int64_t kBlockElements = 128;  ///< as copy-ring aligns the chunks of long payloads

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

int64_t padded(int64_t count, DType dtype, int ranks) {
  const int64_t place = kPlaceBytes / static_cast<int64_t>(dtype_bytes(dtype));
  const bool is_long = count >= 8 * kBlockElements * ranks;
  return round_up(count, ranks * (is_long ? kBlockElements : place));
}

}  // namespace

std::vector<BucketLayout> cut_buckets(std::span<const Tensor> params, std::span<const int> order,
                                      BucketLimits limits, int ranks) {
  std::vector<BucketLayout> buckets;
  // Cut in order; a change of dtype cuts too, since a collective has one.
  int64_t bytes = 0;
  for (int p : order) {
    const Tensor& param = params[static_cast<size_t>(p)];
    const auto element = static_cast<int64_t>(dtype_bytes(param.dtype()));
    const int64_t size = param.numel() * element;
    const int64_t limit = buckets.size() <= 1 ? limits.first_bytes : limits.bytes;
    if (buckets.empty() || buckets.back().dtype != param.dtype() ||
        (bytes > 0 && bytes + size > limit)) {
      buckets.push_back({.dtype = param.dtype()});
      bytes = 0;
    }
    BucketLayout& bucket = buckets.back();
    bucket.params.push_back(p);
    bucket.places.push_back(round_up(bucket.count, kPlaceBytes / element));
    bucket.count = bucket.places.back() + param.numel();
    bytes += size;
  }
  for (BucketLayout& bucket : buckets) bucket.count = padded(bucket.count, bucket.dtype, ranks);
  return buckets;
}

std::vector<ShardPiece> shard_pieces(std::span<const Tensor> params,
                                     std::span<const BucketLayout> buckets, int rank, int ranks) {
  std::vector<ShardPiece> pieces;
  for (size_t b = 0; b < buckets.size(); ++b) {
    const BucketLayout& bucket = buckets[b];
    const int64_t block = bucket.count / ranks, begin = rank * block;
    for (size_t k = 0; k < bucket.params.size(); ++k) {
      const int64_t place = bucket.places[k];
      const int64_t end = place + params[static_cast<size_t>(bucket.params[k])].numel();
      const int64_t from = std::max(place, begin), to = std::min(end, begin + block);
      if (from >= to) continue;
      pieces.push_back(
          {static_cast<int>(b), bucket.params[k], from - place, from - begin, to - from});
    }
  }
  return pieces;
}

}  // namespace weft
