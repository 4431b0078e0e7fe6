// Broadcast and reduce along a chain in ring order, a few pieces in flight. Part of `copy-ring`.
//
// Design. Broadcast starts at the root; each position receives a piece straight into its `out` and
// sends it on from there. Reduce ends at the root: a piece is combined in the inbox of each
// position on its way, and only the root writes `out`. An inbox has kSlots pieces that take turns;
// a push into one waits for the event that was recorded after its last use (the onward push, or the
// root's combine).
#include "collective/copy/chain.h"

#include <algorithm>

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

}  // namespace

void chain_broadcast(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  const CollectiveArgs& call = args[0];
  const uint64_t element = dtype_bytes(call.dtype);
  const uint64_t piece = piece_elements(call);
  PushRing ring(args, devices, call.root, 1, piece * element, false);
  ring.open();
  for (uint64_t at = 0; at < call.count; at += piece) {
    const uint64_t bytes = std::min(piece, call.count - at) * element;
    const uint64_t offset = at * element;
    for (int p = 0; p + 1 < ring.size(); ++p) {
      const char* src = p == 0 ? ring.in(p) : ring.out(p);
      ring.send(p, ring.out(p + 1) + offset, src + offset, bytes, -1);
      ring.receive(p + 1);
    }
  }
  ring.copy(0, ring.out(0), ring.in(0), call.count * element);
  ring.close();
}

void chain_reduce(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  const CollectiveArgs& call = args[0];
  const uint64_t element = dtype_bytes(call.dtype);
  const uint64_t piece = piece_elements(call);
  const int n = static_cast<int>(devices.size());
  const bool overlap = call.count > piece;
  PushRing ring(args, devices, successor(devices, call.root), 1, piece * element, overlap);
  ring.take_inboxes(std::min<uint64_t>(kSlots, (call.count + piece - 1) / piece) * piece * element);
  std::vector<Event> emptied;  // of slot i at position q: emptied[q * kSlots + i]
  for (int q = 0; q < n; ++q) {
    for (int i = 0; i < kSlots; ++i) emptied.emplace_back(ring.comm(q).device());
  }
  ring.open();
  uint64_t index = 0;
  for (uint64_t at = 0; at < call.count; at += piece, ++index) {
    const uint64_t length = std::min(piece, call.count - at);
    const uint64_t offset = at * element;
    const int slot = static_cast<int>(index % kSlots);
    const uint64_t slot_offset = static_cast<uint64_t>(slot) * piece * element;
    for (int p = 0; p + 1 < n; ++p) {
      const int q = p + 1;
      const bool root = q == n - 1;
      Event& free_at_q = emptied[q * kSlots + slot];
      if (index >= kSlots) {
        free_at_q.wait(ring.push(p));
        free_at_q.wait(ring.comm(q));  // which writes the slot when the pair is staged
      }
      char* arrived = ring.inbox(q) + slot_offset;
      const char* src = p == 0 ? ring.in(p) + offset : ring.inbox(p) + slot_offset;
      ring.send(p, arrived, src, length * element, p == 0 ? -1 : 0);
      if (p > 0) emptied[p * kSlots + slot].record(ring.push(p));
      ring.receive(q);
      ring.combine(q, root ? ring.out(q) + offset : arrived, arrived, ring.in(q) + offset, length,
                   root ? last_scale(call.op, n) : 1.0);
      ring.mark_ready(q, 0);
      if (root) free_at_q.record(ring.comm(q));
    }
  }
  ring.close();
}

}  // namespace fabric
