// The gradient reducer of one rank: a flat arena that holds every parameter's gradient, cut in
// buckets in the order in which the backward pass completes them, each averaged over the group
// while backward goes on. Used by the trainer's workers through the binding, one instance a
// replica.
//
// Design. Parameters' grads are views of the arena, so a bucket is one contiguous slice and one
// collective. A leaf hook counts a bucket's open parameters down; buckets are submitted strictly in
// index order, so all ranks submit the same sequence whatever finishes first. The comm stream waits
// for the compute stream's work at submission (an event, inside Group), finish() makes the compute
// stream wait for all buckets. The first step uses the reverse of the parameters' order; then the
// order seen in that step, if all ranks saw the same one (agreed through votes; a step in which a
// rank has no batch does not settle it).
//  - One thread drives an instance: begin(), backward, finish(). Hooks run on that thread inside
//    backward.
//  - In a kReduce pass a parameter's gradient is closed once it is there: a second pass that reaches
//    it before the step ends is a UsageError, since the bucket may be reducing.
//  - With shards (gradient_shards.h) nothing is lent: a bucket's gradients are reduce-scattered and
//    the leaves have none afterwards. The order is agreed on in the first step before anybody reads a
//    shard.
//  - What breaks it: a rank that skips a step; the others' finish() ends with
//    CollectiveTimeoutError, or with the error that the coordinator passes to Group::abort.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "fabric/group.h"
#include "parallel/gradient_shards.h"

namespace weft {

struct ReducerOptions {
  int64_t bucket_bytes = 25 << 20;
  int64_t first_bucket_bytes = 1 << 20;  ///< small, so that the first reduction starts early
  int64_t timeout_ms = 30'000;
  bool zero_unused = false;  ///< a parameter without a gradient gets zeros, instead of an error
  /// Where this rank keeps its shard of the gradients; no group: gradients are whole on every rank.
  GroupPlace shards;
  GroupPlace replicas;  ///< the ranks with the same shard, where there are some
};

struct ReducerStats {
  uint64_t steps = 0;
  uint64_t buckets = 0;     ///< in the present layout
  uint64_t bytes = 0;       ///< of gradients a step
  double host_wait_ms = 0;  ///< total time begin() and finish() blocked for other ranks
  double exposed_ms = 0;    ///< total time the compute stream stood still for the reduction
  double timed_steps = 0;   ///< steps that exposed_ms covers
};

enum class BackwardMode : int {
  kAccumulate = 0,  ///< a micro-step: gradients add up, nothing is reduced
  kReduce = 1,      ///< the last (or only) backward of a step
  kAbsent = 2,      ///< this rank has no batch: it takes part with zero gradients and only votes
};

class Reducer {
 public:
  /// `params` are leaves on the group's `rank`-th device that require gradients; the reducer refers
  /// to them until it dies. group may be nullptr for a world of one.
  Reducer(std::shared_ptr<fabric::Group> group, int rank, std::vector<Tensor> params,
          ReducerOptions options);
  ~Reducer();  ///< params keep their last gradients
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  /// Before each forward and backward pass. `vote` goes to all ranks with the buckets of a kReduce or
  /// kAbsent pass. BLOCKS until all ranks have submitted the all-gathers of a sharded step before it.
  void begin(BackwardMode mode, uint64_t vote);
  /// After the last backward of a step: submits what is left, blocks until every bucket is enqueued
  /// on every rank (bounded by timeout_ms), makes the current compute stream wait for the averaged
  /// gradients and returns the bitwise or of all ranks' votes. Throws UsageError with fields
  /// {"unused":[indices]} when a parameter got no gradient, DesyncError, CollectiveTimeoutError, or
  /// what Group::abort was given.
  uint64_t finish();
  /// What finish() submits over the replicas, before it: for a capture, in which every call belongs to a
  /// rank's turn. BLOCKS until the reduce-scatters are enqueued on all ranks.
  void average();
  /// Forgets a step that began and cannot be finished: the next begin() starts one.
  void abandon();
  ReducerStats stats();

  /// The agreed order of the parameters in the arena, which the next step uses; empty until the
  /// ranks have agreed. Sums in ring order depend on it, so a resumed run takes it over.
  std::vector<int> order() const;
  /// Lays the arena out in the order of an earlier run, alike on all ranks, before the first step.
  /// Throws UsageError when it is no permutation of the parameters, or a step is open.
  void set_order(const std::vector<int>& order);

  /// This rank's shards, parameters moved into them; they stay the reducer's. Once the order is known.
  /// Throws UsageError before that, and where there are none.
  GradientShards& shards();

 private:
  struct Bucket;
  struct Shared;
  void lay_out(const std::vector<int>& order);
  void lend_arena();
  void give_zeros();
  void on_gradient(int param);
  void submit_ready();
  void submit(Bucket& bucket);
  void agree_on_order();
  uint64_t all_votes(uint64_t votes);

  std::shared_ptr<Shared> shared_;
};

}  // namespace weft
