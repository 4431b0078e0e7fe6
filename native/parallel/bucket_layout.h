// How parameters' gradients lie in buckets: which bucket, which place in it, how long it is. The reducer lays out
// its arena by it, and with sharding the parameters too. Pure: no device is touched.
//
// Places begin at 16 bytes, and a bucket is padded so that the ranks' blocks of it are equal and begin
// where copy-ring cuts an all-reduce: reduced whole or in shards, a gradient has the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace weft {

struct BucketLayout {
  DType dtype = DType::kF32;
  std::vector<int> params;      ///< indices, in the order of their places
  std::vector<int64_t> places;  ///< of each in the bucket, in elements
  int64_t count = 0;            ///< elements, padding among them; a multiple of the ranks
};

struct BucketLimits {
  int64_t first_bytes;  ///< of the first two buckets
  int64_t bytes;
};

/// Cuts the parameters, taken in `order`, in buckets of one dtype each.
std::vector<BucketLayout> cut_buckets(std::span<const Tensor> params, std::span<const int> order,
                                      BucketLimits limits, int ranks);

/// A run of elements of one parameter that lies in one rank's block of a bucket.
struct ShardPiece {
  int bucket = 0;
  int param = 0;
  int64_t param_offset = 0;  ///< in the flattened parameter
  int64_t shard_offset = 0;  ///< in the rank's block
  int64_t count = 0;
};

/// What of the parameters lies in block `rank` of `ranks` of each bucket, in order.
std::vector<ShardPiece> shard_pieces(std::span<const Tensor> params,
                                     std::span<const BucketLayout> buckets, int rank, int ranks);

}  // namespace weft
