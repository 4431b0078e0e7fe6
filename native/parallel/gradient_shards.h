// A rank's shard of gradients and parameters (ZeRO-2): each bucket of gradients is reduce-scattered, the rank
// keeps the averages of its own block alone, and the parameters lie in buckets of the same layout, so that after an
// update an all-gather in place gives every rank every block. The reducer owns one where its options ask for it.
//
// Design. Nothing is lent to the leaves: a gradient stays where the backward pass made it until its
// bucket is complete, is then copied into a bucket that lives until the reduce-scatter has read it,
// and is freed. What stays is one block a bucket.
//  - Two dimensions: within `shards` each rank has another block; over `replicas` (the ranks with the
//    same block, none where there is one) the blocks are averaged by an all-reduce. It is submitted in
//    bucket order once the bucket's reduce-scatter is launched, behind it on the shards' comm stream.
//  - Device order: compute -> (event) -> reduce-scatter -> all-reduce -> (event) -> compute: optimizer
//    -> (event) -> all-gather -> (event) -> compute, where it first uses a parameter of the bucket.
//  - The all-gathers run beside the next forward pass: each bucket's is announced to its memory
//    (core/late_write.h), the buckets that forward needs first go first, and what uses none of them
//    waits for nothing. In a capture the compute stream waits for all at the end, for a graph cannot
//    be waited into from outside.
//  - One thread drives it, the reducer's.
#pragma once

#include <memory>
#include <vector>

#include "fabric/group.h"
#include "parallel/bucket_layout.h"

namespace weft {

/// A rank's place in a group; no group: nothing to do there.
struct GroupPlace {
  std::shared_ptr<fabric::Group> group;
  int rank = 0;
};

class GradientShards {
 public:
  /// Throws UsageError when two parameters share memory: they are moved.
  GradientShards(GroupPlace shards, GroupPlace replicas, std::vector<Tensor> params,
                 int64_t timeout_ms);
  ~GradientShards();  ///< the parameters stay, whole
  GradientShards(const GradientShards&) = delete;
  GradientShards& operator=(const GradientShards&) = delete;

  int ranks() const { return shards_.group->size(); }
  /// Blocks for the gradients of these buckets. Throws UsageError once the parameters have moved.
  void lay_out(std::vector<BucketLayout> buckets);
  /// As lay_out(), and the averaged gradients go to their new places. BLOCKS until all ranks of the
  /// shard group have come, at most the time limit.
  void lay_out_again(std::vector<BucketLayout> buckets);

  /// Takes the gradients of bucket `b` from the leaves (zeros where one has none) and submits the
  /// reduce-scatter; and the all-reduces of earlier buckets that can go.
  void submit(size_t b, uint64_t vote);
  /// Submits the all-reduces that are left. BLOCKS until the reduce-scatters are enqueued.
  void submit_averages() { average_over_replicas(true); }
  /// As submit_averages(); BLOCKS until all is enqueued.
  void wait_launched();
  /// `stream` waits for the averages. Returns the votes of the shard group.
  uint64_t stream_wait(Stream& stream);
  /// Forgets the reductions of a step that cannot be finished, and what it captured.
  void abandon();

  /// Moves the parameters into their buckets, once.
  void move_params();
  bool moved() const { return !param_buckets_.empty(); }
  /// Submits the all-gathers of the parameters' buckets, behind the compute stream's work so far. From
  /// here on each stream that uses a parameter waits for its bucket.
  void begin_gather();
  /// BLOCKS until those of the latest begin_gather() are enqueued on all ranks.
  void meet_gather();
  /// As meet_gather(), and the compute stream waits for all parameters.
  void finish_gather();

  /// This rank's block of each bucket: averaged gradients, and (once moved) parameters.
  const std::vector<Tensor>& gradients() const { return gradients_; }
  std::vector<Tensor> params() const;
  std::vector<ShardPiece> pieces(int rank) const;  ///< of any rank of the shard group
  int rank() const { return shards_.rank; }

 private:
  using WorkPtr = std::shared_ptr<fabric::Work>;
  class Gather;
  int64_t block(size_t b) const { return buckets_[b].count / ranks(); }
  Tensor own_block(const Tensor& bucket) const;
  Tensor take_gradients(const BucketLayout& bucket) const;
  WorkPtr gather(const Tensor& bucket, int64_t block);
  void average_over_replicas(bool all);
  Device& device() const { return params_[0].device(); }

  const GroupPlace shards_, replicas_;
  const std::vector<Tensor> params_;
  const int64_t timeout_ms_;
  std::vector<BucketLayout> buckets_;
  std::vector<Tensor> gradients_, param_buckets_;
  std::vector<WorkPtr> scatters_, averages_;  // of the step, by bucket
  std::vector<std::unique_ptr<Gather>> gathers_;
  std::vector<WorkPtr> captured_gathers_;  // between begin_gather() and finish_gather()
};

}  // namespace weft
