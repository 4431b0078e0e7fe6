// All-reduces, reduce-scatters or all-gathers timed side by side: weft as it chooses, each of its algorithms, and NCCL in its three
// buffer modes, on the same streams, by turns in every round, so that a drift of clocks meets all.
// Called from C++, so that JavaScript is in none of these figures. The binding (reduceBench…) and
// through it `weft bench` and `weft tune` own one.
//
// Design. All ranks are called by this thread. weft and NCCL's plain mode share inputs and outputs;
// the other modes have memory from NCCL. Everything of one contestant is done before the next
// begins, so no two collectives run side by side. A graph holds many calls: its launch then weighs
// little on one. A contestant that fails keeps its error and is left out from then on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/nccl_ranks.h"
#include "bench/pattern.h"
#include "fabric/algorithm.h"
#include "fabric/allocator.h"
#include "fabric/group.h"

namespace weft::bench {

struct ReducePlan {
  uint64_t bytes =
      0;  ///< of the longer buffer: all slices of a reduce-scatter, all parts of an all-gather
  int rounds = 20;
  int calls = 20;          ///< a round, one after the other
  int graph_calls = 100;   ///< in the captured graph; 0: no graph
  int graph_launches = 4;  ///< a round, one after the other: a launch costs what 20 calls do
  std::vector<std::string> only{};  ///< labels to measure; empty: all
};

struct Measured {
  std::string label;                       ///< "weft", "weft copy-ring", "nccl plain"
  std::string algorithm;                   ///< that the call got; empty for NCCL
  uint64_t wrong = 0;                      ///< elements over all ranks, eager and from the graph
  std::vector<double> eager_us, graph_us;  ///< a call, one figure a round
  std::string error;                       ///< why it has no figures
};

class ReduceBench {
 public:
  /// Buffers of `max_bytes` a rank. `nccl` null: weft alone. In place: all-reduce alone.
  ReduceBench(std::shared_ptr<fabric::Group> group, uint64_t max_bytes, DType dtype, bool in_place,
              std::shared_ptr<const Nccl> nccl,
              fabric::CollectiveKind kind = fabric::CollectiveKind::kAllReduce);
  ~ReduceBench();
  ReduceBench(const ReduceBench&) = delete;
  ReduceBench& operator=(const ReduceBench&) = delete;

  std::vector<Measured> measure(const ReducePlan& plan);

  // One contestant beside other work, by its label; measure() must have run it at this size.
  /// Enqueues `calls` on the ranks' `streams` and returns.
  void start(const std::string& label, uint64_t bytes, int calls, std::span<Stream* const> streams);
  /// Overwrites its outputs; blocks.
  void spoil(const std::string& label, uint64_t bytes);
  /// Elements of its outputs that are not right, over all ranks; blocks.
  uint64_t wrong(const std::string& label, uint64_t bytes);

 private:
  struct Contestant;

  std::vector<Contestant> contestants(const ReducePlan& plan);
  void check(Contestant& each, uint64_t bytes);
  void enqueue(const Contestant& each, uint64_t bytes, std::span<Stream* const> streams);
  void weft_reduce(uint64_t count, std::span<Stream* const> streams);
  uint64_t count(uint64_t bytes) const;
  uint64_t out_bytes(uint64_t bytes) const;
  uint64_t wrong_of(const Contestant& each, uint64_t bytes);
  Contestant only(const std::string& label, uint64_t bytes);
  void drain_all();
  fabric::CallShape shape(uint64_t bytes, bool captured) const;

  std::shared_ptr<fabric::Group> group_;
  uint64_t max_bytes_;
  DType dtype_;
  bool in_place_;
  fabric::CollectiveKind kind_;
  std::vector<Device*> devices_;
  std::vector<Stream*> streams_;
  std::vector<fabric::Block*> blocks_;
  std::vector<void*> in_, out_;
  SumPattern pattern_;
  std::unique_ptr<NcclRanks> nccl_;
  std::vector<void*> filled_;  // inputs that hold their pattern
};

}  // namespace weft::bench
