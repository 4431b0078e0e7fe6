// `copy-ring`: all-reduce, reduce-scatter and all-gather around a ring of pushes; broadcast and
// reduce are the chain in collective/copy/chain.cc. The reference on every driver and the carrier
// of large sizes.
//
// Design. Position p finally owns chunk p. Reduce-scatter, step s: p sends chunk p-1-s, first from
// its input, then as the partial it combined in its inbox; n-1 hops bring chunk q to q, whose last
// combine writes `out` (and scales an average). All-gather, step s: p sends chunk p-s straight into
// its neighbour's `out`. An all-reduce is both. No buffer of a user but `out` is written.
//  - In place is safe by data: the push that overwrites chunk c at q carries the sum of c, which
//    was made from what q itself had sent or combined of c.
//  - A step is cut in pieces so that a piece is sent on while the next arrives; two do, since the
//    link is the slowest part. A large payload is cut in at most four batches, which bounds both the
//    operations and the scratch, to half of the payload: two inboxes of a batch take turns, and a
//    push into one waits for the events that its rank recorded when it had emptied it.
// Ring order: the bits are the same at all ranks, but depend on placement and size.
#include <algorithm>
#include <array>

#include "collective/algorithms.h"
#include "collective/copy/chain.h"
#include "collective/copy/push_ring.h"
#include "collective/copy/steps.h"

namespace fabric {
namespace {

// One chunk of a batch, in elements: where it lies in `in` and in `out`.
struct Chunk {
  uint64_t in = 0;
  uint64_t out = 0;
  uint64_t length = 0;
};

class RingCall final : public PreparedCall {
 public:
  explicit RingCall(const CollectiveCall& call)
      : call_(call.args[0]),
        n_(static_cast<int>(call.devices.size())),
        element_(dtype_bytes(call_.dtype)) {
    // All-reduce splits its payload in n chunks; the other two have n blocks of `count`.
    const bool split = call_.kind == CollectiveKind::kAllReduce;
    const uint64_t blocks = split ? 1 : static_cast<uint64_t>(n_);
    batch_ = std::max<uint64_t>(1, ring_tuning().batch_bytes / (element_ * blocks));
    batch_ = std::min(call_.count, std::max(batch_, (call_.count - 1) / kMostBatches + 1));
    chunk_ = split ? cut_longest(batch_, n_) : batch_;
    const uint64_t chunk_bytes = chunk_ * element_;
    pieces_ = static_cast<int>(
        std::clamp<uint64_t>(chunk_bytes / ring_tuning().piece_bytes, 1, ring_tuning().max_pieces));
    const uint64_t longest = std::min(chunk_, cut_longest(chunk_, pieces_) + 256);  // cut() aligns
    const uint64_t batches = (call_.count + batch_ - 1) / batch_;
    ring_ = std::make_unique<PushRing>(
        call, PushRing::Shape{.pieces = pieces_,
                              .largest = longest * element_,
                              .sends = batches * static_cast<uint64_t>(n_ - 1) *
                                       static_cast<uint64_t>(pieces_) * (split ? 2 : 1),
                              .overlap = chunk_bytes >= ring_tuning().overlap_bytes});
    if (call_.kind != CollectiveKind::kAllGather) take_inboxes();
  }

  void enqueue() override {
    const bool reduces = call_.kind != CollectiveKind::kAllGather;
    ring_->open();
    if (!reduces) {
      for (int p = 0; p < n_; ++p) {
        const uint64_t bytes = call_.count * element_;
        ring_->copy(p, ring_->out(p) + ring_->rank(p) * bytes, ring_->in(p), bytes);
      }
    }
    int index = 0;
    for (uint64_t begin = 0; begin < call_.count; begin += batch_, ++index) {
      const std::vector<Chunk> chunks = plan(begin, std::min(batch_, call_.count - begin));
      if (reduces) reduce_scatter(chunks, index);
      if (call_.kind != CollectiveKind::kReduceScatter) all_gather(chunks, !reduces);
    }
    ring_->close();
  }

 private:
  // The longest of the runs that cut() makes.
  static uint64_t cut_longest(uint64_t length, int parts) {
    uint64_t longest = 0;
    for (int i = 0; i < parts; ++i) {
      longest = std::max(longest, cut(length, parts, i + 1) - cut(length, parts, i));
    }
    return longest;
  }

  void take_inboxes() {
    turns_ = call_.count > batch_ ? 2 : 1;
    ring_->take_inboxes(turns_ * static_cast<uint64_t>(n_ - 1) * chunk_ * element_);
    if (turns_ == 1) return;
    for (auto& turn : emptied_) {
      for (int q = 0; q < n_; ++q) {
        turn.push_back({Event(ring_->comm(q).device()), Event(ring_->comm(q).device())});
      }
    }
  }

  std::vector<Chunk> plan(uint64_t begin, uint64_t length) const {
    std::vector<Chunk> chunks(n_);
    for (int c = 0; c < n_; ++c) {
      const uint64_t block = static_cast<uint64_t>(ring_->rank(c)) * call_.count + begin;
      if (call_.kind == CollectiveKind::kAllReduce) {
        const uint64_t start = cut(length, n_, c);
        chunks[c] = {begin + start, begin + start, cut(length, n_, c + 1) - start};
      } else if (call_.kind == CollectiveKind::kReduceScatter) {
        chunks[c] = {block, begin, length};
      } else {
        chunks[c] = {begin, block, length};
      }
    }
    return chunks;
  }

  char* inbox(int position, int turn, int step) const {
    return ring_->inbox(position) +
           (static_cast<uint64_t>(turn) * (n_ - 1) + step) * chunk_ * element_;
  }

  // Calls body(offset, length) of piece k of a chunk.
  template <typename Body>
  void with_piece(const Chunk& chunk, int k, Body&& body) const {
    const uint64_t from = cut(chunk.length, pieces_, k);
    body(from, cut(chunk.length, pieces_, k + 1) - from);
  }

  void reduce_scatter(const std::vector<Chunk>& chunks, int index) {
    const int turn = index % turns_;
    if (index >= turns_) wait_emptied(turn);
    for (int s = 0; s < n_ - 1; ++s) {
      for (int k = 0; k < pieces_; ++k) {
        for (int p = 0; p < n_; ++p) {
          const Chunk& chunk = chunks[ring_->wrap(p - 1 - s)];
          with_piece(chunk, k, [&](uint64_t at, uint64_t length) {
            const char* src = s == 0 ? ring_->in(p) + (chunk.in + at) * element_
                                     : inbox(p, turn, s - 1) + at * element_;
            ring_->send(p, inbox(ring_->wrap(p + 1), turn, s) + at * element_, src,
                        length * element_, s == 0 ? -1 : k);
          });
        }
        for (int q = 0; q < n_; ++q) {
          const Chunk& chunk = chunks[ring_->wrap(q - 2 - s)];
          const bool last = s == n_ - 2;
          ring_->receive(q);
          with_piece(chunk, k, [&](uint64_t at, uint64_t length) {
            char* arrived = inbox(q, turn, s) + at * element_;
            char* dst = last ? ring_->out(q) + (chunk.out + at) * element_ : arrived;
            ring_->combine(q, dst, arrived, ring_->in(q) + (chunk.in + at) * element_, length,
                           last ? last_scale(call_.op, n_) : 1.0);
          });
          ring_->mark_ready(q, k);
        }
      }
    }
    if (turns_ > 1) mark_emptied(turn);
  }

  void all_gather(const std::vector<Chunk>& chunks, bool from_input) {
    for (int s = 0; s < n_ - 1; ++s) {
      for (int k = 0; k < pieces_; ++k) {
        for (int p = 0; p < n_; ++p) {
          const Chunk& chunk = chunks[ring_->wrap(p - s)];
          const bool input = from_input && s == 0;
          with_piece(chunk, k, [&](uint64_t at, uint64_t length) {
            const char* src = input ? ring_->in(p) + (chunk.in + at) * element_
                                    : ring_->out(p) + (chunk.out + at) * element_;
            ring_->send(p, ring_->out(ring_->wrap(p + 1)) + (chunk.out + at) * element_, src,
                        length * element_, input ? -1 : k);
          });
        }
        for (int q = 0; q < n_; ++q) {
          ring_->receive(q);
          ring_->mark_ready(q, k);
        }
      }
    }
  }

  void mark_emptied(int turn) {
    for (int q = 0; q < n_; ++q) {
      emptied_[turn][q][0].record(ring_->comm(q));
      emptied_[turn][q][1].record(ring_->push(q));
    }
  }

  // Who pushes into an inbox waits. Its owner, which writes it when the pair is staged, does so behind
  // the arrival of such a push.
  void wait_emptied(int turn) {
    for (int q = 0; q < n_; ++q) {
      for (Event& event : emptied_[turn][q]) event.wait(ring_->push(ring_->wrap(q - 1)));
    }
  }

  const CollectiveArgs& call_;
  const int n_;
  const uint64_t element_;
  uint64_t batch_ = 0;  // elements of a block that one batch covers
  uint64_t chunk_ = 0;  // longest chunk of a batch
  int pieces_ = 1;
  int turns_ = 1;
  std::unique_ptr<PushRing> ring_;
  std::array<std::vector<std::array<Event, 2>>, 2> emptied_;
};

bool supports(const CallShape& call) {
  switch (call.kind) {
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kAllGather:
      return true;
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kReduce:
      return call.op != ReduceOp::kAvg || is_floating(call.dtype);
    default:
      return false;
  }
}

// Nothing to do, or one rank: `out` becomes `in`.
class LocalCopy final : public PreparedCall {
 public:
  explicit LocalCopy(const CollectiveCall& call) : call_(call) {}
  void enqueue() override {
    const CollectiveArgs& args = call_.args[0];
    copy_within(call_, args.out, args.in, args.count * dtype_bytes(args.dtype), call_.comm(0));
  }

 private:
  const CollectiveCall call_;
};

std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) {
  const CollectiveArgs& args = call.args[0];
  if (args.count == 0 || call.devices.size() == 1) return std::make_unique<LocalCopy>(call);
  if (args.kind == CollectiveKind::kBroadcast || args.kind == CollectiveKind::kReduce) {
    return prepare_chain(call);
  }
  return std::make_unique<RingCall>(call);
}

}  // namespace

RingTuning& ring_tuning() {
  static RingTuning tuning;
  return tuning;
}

Algorithm copy_ring_algorithm() { return {"copy-ring", false, &supports, &prepare, {}}; }

}  // namespace fabric
