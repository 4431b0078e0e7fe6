// `copy-oneshot`: every rank fetches the inputs of all peers and combines them in rank order. The
// table takes it for small all-reduces and reduce-scatters, small broadcasts and barriers.
//
// Design. Three phases, joined by events between the comm streams:
//  1. Each comm stream, behind its producer, records `ready`; every comm stream waits for all of
//     them. So inputs are complete and earlier collectives on the peers have passed.
//  2. Each rank copies the peers' inputs (of a reduce-scatter: its own block of them) to its scratch
//     and combines them, rank 0 first. The order of additions is the same at every rank and for every
//     size: so are the bits.
//  3. Each comm stream records `read`; every comm stream waits for all of them before its last step
//     writes `out`. In place that write destroys an input, out of place the caller may do so as
//     soon as its done event has passed; the wait covers both.
// A barrier is phase 1 alone. Tiny payloads skip all this where the driver can reduce them at once.
#include <algorithm>
#include <memory>
#include <vector>

#include "collective/algorithms.h"
#include "collective/copy/steps.h"
#include "collective/scratch.h"
#include "transfer/copy_lane.h"

namespace fabric {
namespace {

constexpr size_t kFetchPiece = 4u << 20;

class OneshotCall final : public PreparedCall {
 public:
  explicit OneshotCall(const CollectiveCall& call)
      : call_(call),
        args_(call.args[0]),
        n_(call.devices.size()),
        bytes_(args_.kind == CollectiveKind::kBarrier ? 0
                                                      : args_.count * dtype_bytes(args_.dtype)) {
    here_.reserve(n_);
    for (Device* device : call.devices) here_.emplace_back(*device);
    if (bytes_ == 0 || n_ == 1) return;
    const bool reduces = args_.kind != CollectiveKind::kBroadcast;
    inbox_.resize(n_);
    lanes_.resize(n_ * n_);
    for (size_t q = 0; q < n_; ++q) {
      if (reduces) inbox_[q] = scratch_.take(stride() * n_, comm(q));
      for (size_t r = 0; r < n_; ++r) {
        if (r == q || (!reduces && r != root())) continue;
        auto lane = std::make_unique<CopyLane>(*call.devices[r], *call.devices[q],
                                               std::min(bytes_, kFetchPiece), label_of(call));
        if (!lane->peer()) lane->reserve((bytes_ + kFetchPiece - 1) / kFetchPiece);
        lanes_[q * n_ + r] = std::move(lane);
      }
    }
  }

  void enqueue() override {
    if (args_.kind == CollectiveKind::kBarrier) return meet();
    if (bytes_ == 0) return;
    if (args_.kind == CollectiveKind::kBroadcast) return broadcast();
    if (n_ == 1) return copy_within(call_, args_.out, args_.in, bytes_, comm(0));
    const bool scatters = args_.kind == CollectiveKind::kReduceScatter;
    if (scatters || !reduce_at_once()) reduce(scatters);
  }

 private:
  Stream& comm(size_t rank) const { return call_.comm(rank); }
  size_t root() const { return static_cast<size_t>(args_.root); }
  size_t stride() const { return (bytes_ + 511) / 512 * 512; }

  // All comm streams wait for what every other has enqueued so far.
  void meet() {
    for (size_t r = 0; r < n_; ++r) here_[r].record(comm(r));
    for (size_t q = 0; q < n_; ++q) {
      for (size_t r = 0; r < n_; ++r) {
        if (r != q) here_[r].wait(comm(q));
      }
    }
  }

  void fetch(size_t q, void* dst, size_t r, const void* src) {
    lanes_[q * n_ + r]->fetch(dst, src, bytes_, comm(r), comm(q));
  }

  void broadcast() {
    meet();
    for (size_t r = 0; r < n_; ++r) {
      if (r != root()) fetch(r, call_.args[r].out, root(), call_.args[root()].in);
    }
    // The root's input stays until all have read it.
    for (size_t r = 0; r < n_; ++r) {
      if (r == root()) continue;
      here_[r].record(comm(r));
      here_[r].wait(comm(root()));
    }
    copy_within(call_, call_.args[root()].out, call_.args[root()].in, bytes_, comm(root()));
  }

  bool reduce_at_once() {
    std::vector<ReducePart> parts;
    parts.reserve(n_);
    for (size_t r = 0; r < n_; ++r) {
      parts.push_back(
          {call_.devices[r]->ordinal(), comm(r).handle(), call_.args[r].in, call_.args[r].out});
    }
    Driver& driver = call_.devices[0]->driver();
    if (!driver.reduce_at_once(parts, args_.count, args_.dtype, args_.op,
                               last_scale(args_.op, n_))) {
      return false;
    }
    for (size_t r = 0; r < n_; ++r) log_combine(call_, args_.count, comm(r));
    return true;
  }

  /// `scatters`: rank q sums block q of the inputs alone.
  void reduce(bool scatters) {
    auto own = [&](size_t q, size_t r) -> const char* {  // what q needs of rank r's input
      return static_cast<const char*>(call_.args[r].in) + (scatters ? q * bytes_ : 0);
    };
    auto input = [&](size_t q, size_t r) -> const void* {  // rank r's input as rank q sees it
      return r == q ? own(q, q) : inbox_[q] + r * stride();
    };
    meet();
    for (size_t q = 0; q < n_; ++q) {
      for (size_t r = 0; r < n_; ++r) {
        if (r != q) fetch(q, inbox_[q] + r * stride(), r, own(q, r));
      }
    }
    // The slot of rank q itself is free in its inbox: the partial result lies there.
    for (size_t q = 0; q < n_ && n_ > 2; ++q) {
      void* partial = inbox_[q] + q * stride();
      const void* so_far = input(q, 0);
      for (size_t r = 1; r + 1 < n_; ++r) {
        combine(call_, partial, so_far, input(q, r), args_.count, 1.0, comm(q));
        so_far = partial;
      }
    }
    meet();
    for (size_t q = 0; q < n_; ++q) {
      const void* so_far = n_ > 2 ? inbox_[q] + q * stride() : input(q, 0);
      combine(call_, call_.args[q].out, so_far, input(q, n_ - 1), args_.count,
              last_scale(args_.op, n_), comm(q));
    }
  }

  const CollectiveCall call_;
  const CollectiveArgs& args_;
  const size_t n_;
  const size_t bytes_;
  std::vector<Event> here_;
  std::vector<char*> inbox_;                      // by rank
  std::vector<std::unique_ptr<CopyLane>> lanes_;  // q * n + r: from r to q
  Scratch scratch_;
};

bool supports(const CallShape& call) {
  switch (call.kind) {
    case CollectiveKind::kBarrier:
    case CollectiveKind::kBroadcast:
      return true;
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kReduceScatter:
      return call.op != ReduceOp::kAvg || is_floating(call.dtype);
    default:
      return false;
  }
}

std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) {
  return std::make_unique<OneshotCall>(call);
}

}  // namespace

Algorithm copy_oneshot_algorithm() { return {"copy-oneshot", true, &supports, &prepare, {}}; }

}  // namespace fabric
