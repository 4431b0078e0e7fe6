// `copy-oneshot`: every rank fetches the inputs of all peers and combines them in rank order. The
// table takes it for small all-reduces, small broadcasts and barriers.
//
// Design. Three phases, joined by events between the comm streams:
//  1. Each comm stream, behind its producer, records `ready`; every comm stream waits for all of
//  them.
//     So inputs are complete and earlier collectives on the peers have passed.
//  2. Each rank copies the peers' inputs to its own scratch and combines them, rank 0 first. The
//  order
//     of additions is the same at every rank and for every size: so are the bits.
//  3. Each comm stream records `read`; every comm stream waits for all of them before its last step
//     writes `out`. In place that write destroys an input, out of place the caller may do so as
//     soon as its done event has passed; the wait covers both.
// A barrier is phase 1 alone. On idle host devices tiny payloads skip all this:
// collective/copy/direct.h.
#include <memory>
#include <vector>

#include "collective/algorithms.h"
#include "collective/copy/direct.h"
#include "transfer/copy_lane.h"

namespace fabric {
namespace {

constexpr size_t kFetchPiece = 4u << 20;

// All comm streams wait for what every other has enqueued so far.
void meet(std::span<Device* const> devices) {
  std::vector<Event> events;
  events.reserve(devices.size());
  for (Device* device : devices) events.emplace_back(*device).record(device->comm());
  for (size_t q = 0; q < devices.size(); ++q) {
    for (size_t r = 0; r < devices.size(); ++r) {
      if (r != q) events[r].wait(devices[q]->comm());
    }
  }
}

void fetch(void* dst, Device& to, const void* src, Device& from, size_t bytes) {
  CopyLane lane(from, to, std::min(bytes, kFetchPiece));
  lane.fetch(dst, src, bytes, from.comm(), to.comm());
}

void broadcast(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  const int root = args[0].root;
  const size_t bytes = args[0].count * dtype_bytes(args[0].dtype);
  meet(devices);
  for (size_t r = 0; r < devices.size(); ++r) {
    if (static_cast<int>(r) == root) continue;
    fetch(args[r].out, *devices[r], args[root].in, *devices[root], bytes);
  }
  // The root's input stays until all have read it.
  Stream& comm = devices[root]->comm();
  for (size_t r = 0; r < devices.size(); ++r) {
    if (static_cast<int>(r) != root) order_after(comm, devices[r]->comm());
  }
  copy_within(*devices[root], args[root].out, args[root].in, bytes, comm);
}

void all_reduce(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  const size_t n = devices.size();
  const CollectiveArgs& call = args[0];
  const size_t bytes = call.count * dtype_bytes(call.dtype);
  if (bytes == 0) return;
  if (n == 1) {
    copy_within(*devices[0], args[0].out, args[0].in, bytes, devices[0]->comm());
    return;
  }
  if (reduce_directly(args, devices)) return;
  const size_t stride = (bytes + 511) / 512 * 512;
  Scratch scratch;
  std::vector<char*> inbox(n);
  for (size_t q = 0; q < n; ++q) inbox[q] = scratch.take(stride * n, devices[q]->comm());
  auto input = [&](size_t q, size_t r) -> const void* {  // rank r's input as rank q sees it
    return r == q ? args[q].in : inbox[q] + r * stride;
  };
  auto combine = [&](size_t q, void* dst, const void* a, const void* b, double scale) {
    devices[q]->driver().combine(dst, a, b, call.count, call.dtype, call.op, scale,
                                 devices[q]->ordinal(), devices[q]->comm().handle());
  };

  meet(devices);
  for (size_t q = 0; q < n; ++q) {
    for (size_t r = 0; r < n; ++r) {
      if (r != q) fetch(inbox[q] + r * stride, *devices[q], args[r].in, *devices[r], bytes);
    }
  }
  // The slot of rank q itself is free in its inbox: the partial result lies there.
  for (size_t q = 0; q < n && n > 2; ++q) {
    void* partial = inbox[q] + q * stride;
    const void* so_far = input(q, 0);
    for (size_t r = 1; r + 1 < n; ++r) {
      combine(q, partial, so_far, input(q, r), 1.0);
      so_far = partial;
    }
  }
  meet(devices);
  for (size_t q = 0; q < n; ++q) {
    const void* so_far = n > 2 ? inbox[q] + q * stride : input(q, 0);
    combine(q, args[q].out, so_far, input(q, n - 1), last_scale(call.op, n));
  }
}

bool supports(CollectiveKind kind, ReduceOp op, DType dtype, int ranks) {
  switch (kind) {
    case CollectiveKind::kBarrier:
    case CollectiveKind::kBroadcast:
      return true;
    case CollectiveKind::kAllReduce:
      return op != ReduceOp::kAvg || is_floating(dtype);
    default:
      return false;
  }
}

void launch(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  switch (args[0].kind) {
    case CollectiveKind::kAllReduce:
      return all_reduce(args, devices);
    case CollectiveKind::kBroadcast:
      return broadcast(args, devices);
    default:
      return meet(devices);
  }
}

}  // namespace

Algorithm copy_oneshot_algorithm() { return {"copy-oneshot", true, &supports, &launch}; }

}  // namespace fabric
