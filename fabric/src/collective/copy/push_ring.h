// The ranks of one call in ring order, with the streams, lanes and scratch that a ring of copies
// needs. collective/copy/ring.cc (all-reduce, reduce-scatter, all-gather) and
// collective/copy/chain.cc (broadcast, reduce) are written in terms of it.
//
// Design. Position p only ever pushes to position p + 1, into its inbox scratch or straight into
// its `out`. Every rank has a comm stream, which combines and receives, and a push stream, which
// sends: the comm stream itself for small payloads, the channel's own for large ones, so that
// copies and combines of different pieces overlap.
//  - The constructor and take_inboxes() take all that may be short: lanes with their staging, events,
//    scratch. What follows only enqueues.
//  - open(): the push stream of p waits for its own comm stream (inputs are ready) and for that of
//    p + 1 (its inbox block and its `out` are free of earlier work).
//  - A piece sent is received by p + 1's comm stream through the lane's event, and may be sent on
//    once mark_ready() of that piece was recorded: one event a piece, so later pieces do not hold
//    it up.
//  - close(): each comm stream waits for its push stream. So everything that touched a rank's
//    buffers or inbox is ordered before the rank's comm stream from then on: inboxes are freed in
//    its stream order without any record of other streams, and the done event on it covers all.
//  - A ring that broke before close() is closed by the launcher, which makes every comm stream wait
//    for every stream used here before the ring and its inboxes go (group/launch.cc).
//  - What breaks it: touching a neighbour's memory that no received data and no open() has ordered.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "collective/scratch.h"
#include "fabric/algorithm.h"
#include "transfer/copy_lane.h"

namespace fabric {

class PushRing {
 public:
  struct Shape {
    int first = 0;         ///< the rank at position 0
    int pieces = 1;        ///< of a step, at most
    size_t largest = 0;    ///< bytes of a send, at most
    uint64_t sends = 0;    ///< of a position
    bool overlap = false;  ///< pushes run beside combines
  };
  PushRing(const CollectiveCall& call, const Shape& shape);

  int size() const { return n_; }
  int wrap(int position) const { return ((position % n_) + n_) % n_; }
  /// The rank at `position`.
  int rank(int position) const { return members_[position].rank; }
  const char* in(int position) const { return members_[position].in; }
  char* out(int position) const { return members_[position].out; }
  char* inbox(int position) const { return members_[position].inbox; }
  Stream& comm(int position) const { return *members_[position].comm; }
  Stream& push(int position) const { return *members_[position].push; }

  /// An inbox of `bytes` for every rank; before open().
  void take_inboxes(size_t bytes);
  void open();
  void close();

  /// p pushes to p + 1. With `piece` >= 0 it first waits for that piece's mark_ready().
  void send(int p, void* dst, const void* src, size_t bytes, int piece);
  /// q's comm stream waits for the oldest push from q - 1.
  void receive(int q);
  void mark_ready(int q, int piece);
  /// dst = op(a, b) * scale on q's comm stream.
  void combine(int q, void* dst, const void* a, const void* b, size_t count, double scale);
  void copy(int q, void* out, const void* in, size_t bytes);

 private:
  struct Member {
    int rank;
    Device* device;
    Stream* comm;
    Stream* push;
    const char* in;
    char* out;
    char* inbox = nullptr;
    std::vector<Event> ready{};
    Event here{};    // on the comm stream, at open()
    Event pushed{};  // on a push stream of its own, at close()
  };

  int n_;
  const CollectiveCall call_;
  std::vector<Member> members_;
  std::vector<std::unique_ptr<CopyLane>> lanes_;  // lanes_[p]: p to p + 1
  Scratch scratch_;
};

/// [0, length) in `parts` runs of nearly equal size; the start of run `i`. Long runs start at
/// multiples of 128 elements, so that vector kernels stay aligned.
uint64_t cut(uint64_t length, int parts, int i);

}  // namespace fabric
