// Broadcast and reduce along a chain in ring order, a few pieces in flight. Part of `copy-ring`.
//
// Design. Broadcast starts at the root; each position receives a piece straight into its `out` and
// sends it on from there. Reduce ends at the root: a piece is combined in the inbox of each
// position on its way, and only the root writes `out`. An inbox has kSlots pieces that take turns;
// a push into one waits for the event that was recorded after its last use (the onward push, or the
// root's combine).
#include "collective/copy/chain.h"

#include <algorithm>

#include "collective/algorithms.h"
#include "collective/copy/push_ring.h"
#include "topology/topology.h"

namespace fabric {
namespace {

constexpr uint64_t kSmallestPiece = 256u << 10;
constexpr uint64_t kLargestPiece = 8u << 20;
constexpr uint64_t kPieces = 8;
constexpr int kSlots = 4;

uint64_t piece_elements(const CollectiveArgs& call) {
  const uint64_t element = dtype_bytes(call.dtype);
  const uint64_t bytes =
      std::clamp(call.count * element / kPieces, kSmallestPiece, kLargestPiece) / 512 * 512;
  return std::min(call.count, bytes / element);
}

// The rank that follows `rank` on the ring.
int successor(std::span<Device* const> devices, int rank) {
  const std::vector<Device*> list(devices.begin(), devices.end());
  const auto& order = cached_ring_order(list);
  const auto at = std::find(order.begin(), order.end(), rank) - order.begin();
  return order[(at + 1) % order.size()];
}

class ChainBroadcast final : public PreparedCall {
 public:
  explicit ChainBroadcast(const CollectiveCall& call)
      : args_(call.args[0]),
        element_(dtype_bytes(args_.dtype)),
        piece_(piece_elements(args_)),
        ring_(call, {.first = args_.root,
                     .largest = piece_ * element_,
                     .sends = (args_.count + piece_ - 1) / piece_}) {}

  void enqueue() override {
    ring_.open();
    for (uint64_t at = 0; at < args_.count; at += piece_) {
      const uint64_t bytes = std::min(piece_, args_.count - at) * element_;
      const uint64_t offset = at * element_;
      for (int p = 0; p + 1 < ring_.size(); ++p) {
        const char* src = p == 0 ? ring_.in(p) : ring_.out(p);
        ring_.send(p, ring_.out(p + 1) + offset, src + offset, bytes, -1);
        ring_.receive(p + 1);
      }
    }
    ring_.copy(0, ring_.out(0), ring_.in(0), args_.count * element_);
    ring_.close();
  }

 private:
  const CollectiveArgs& args_;
  const uint64_t element_;
  const uint64_t piece_;
  PushRing ring_;
};

class ChainReduce final : public PreparedCall {
 public:
  explicit ChainReduce(const CollectiveCall& call)
      : args_(call.args[0]),
        n_(static_cast<int>(call.devices.size())),
        element_(dtype_bytes(args_.dtype)),
        piece_(piece_elements(args_)),
        ring_(call, {.first = successor(call.devices, args_.root),
                     .largest = piece_ * element_,
                     .sends = (args_.count + piece_ - 1) / piece_,
                     .overlap = args_.count > piece_}) {
    const uint64_t pieces = (args_.count + piece_ - 1) / piece_;
    ring_.take_inboxes(std::min<uint64_t>(kSlots, pieces) * piece_ * element_);
    for (int q = 0; q < n_; ++q) {
      for (int i = 0; i < kSlots; ++i) emptied_.emplace_back(ring_.comm(q).device());
    }
  }

  void enqueue() override {
    ring_.open();
    uint64_t index = 0;
    for (uint64_t at = 0; at < args_.count; at += piece_, ++index) {
      for (int p = 0; p + 1 < n_; ++p) hop(p, at, index);
    }
    ring_.close();
  }

 private:
  // The piece at `at` goes from p to p + 1 and is combined there.
  void hop(int p, uint64_t at, uint64_t index) {
    const uint64_t length = std::min(piece_, args_.count - at);
    const uint64_t offset = at * element_;
    const int slot = static_cast<int>(index % kSlots);
    const uint64_t slot_offset = static_cast<uint64_t>(slot) * piece_ * element_;
    const int q = p + 1;
    const bool root = q == n_ - 1;
    Event& free_at_q = emptied_[q * kSlots + slot];
    // When the pair is staged q's comm stream writes the slot, behind the arrival of this push.
    if (index >= kSlots) free_at_q.wait(ring_.push(p));
    char* arrived = ring_.inbox(q) + slot_offset;
    const char* src = p == 0 ? ring_.in(p) + offset : ring_.inbox(p) + slot_offset;
    ring_.send(p, arrived, src, length * element_, p == 0 ? -1 : 0);
    if (p > 0) emptied_[p * kSlots + slot].record(ring_.push(p));
    ring_.receive(q);
    ring_.combine(q, root ? ring_.out(q) + offset : arrived, arrived, ring_.in(q) + offset, length,
                  root ? last_scale(args_.op, static_cast<size_t>(n_)) : 1.0);
    ring_.mark_ready(q, 0);
    if (root) free_at_q.record(ring_.comm(q));
  }

  const CollectiveArgs& args_;
  const int n_;
  const uint64_t element_;
  const uint64_t piece_;
  PushRing ring_;
  std::vector<Event> emptied_;  // of slot i at position q: emptied_[q * kSlots + i]
};

}  // namespace

std::unique_ptr<PreparedCall> prepare_chain(const CollectiveCall& call) {
  if (call.args[0].kind == CollectiveKind::kBroadcast) {
    return std::make_unique<ChainBroadcast>(call);
  }
  return std::make_unique<ChainReduce>(call);
}

}  // namespace fabric
