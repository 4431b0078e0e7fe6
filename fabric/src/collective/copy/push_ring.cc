// Streams, lanes and scratch of a ring of copies; the design is in collective/copy/push_ring.h.
#include "collective/copy/push_ring.h"

#include <algorithm>

#include "collective/copy/steps.h"
#include "topology/topology.h"

namespace fabric {

uint64_t cut(uint64_t length, int parts, int i) {
  constexpr uint64_t kAlign = 128;
  const uint64_t n = static_cast<uint64_t>(parts);
  const uint64_t k = static_cast<uint64_t>(i);
  const uint64_t even = length / n * k + std::min(length % n, k);
  if (length < 8 * kAlign * n) return even;
  return std::min(length, (even + kAlign - 1) / kAlign * kAlign);
}

PushRing::PushRing(const CollectiveCall& call, const Shape& shape)
    : n_(static_cast<int>(call.devices.size())), call_(call) {
  const std::vector<Device*> list(call.devices.begin(), call.devices.end());
  const std::vector<int>& order = cached_ring_order(list);
  const auto start = std::find(order.begin(), order.end(), shape.first) - order.begin();
  members_.reserve(n_);
  for (int p = 0; p < n_; ++p) {
    const int rank = order[(start + p) % n_];
    Device* device = call.devices[rank];
    Stream* comm = &call.comm(rank);
    Stream* push = shape.overlap ? &call.push(rank) : comm;
    members_.push_back({rank, device, comm, push, static_cast<const char*>(call.args[rank].in),
                        static_cast<char*>(call.args[rank].out)});
    Member& member = members_.back();
    member.here = Event(*device);
    if (push == comm) continue;
    member.pushed = Event(*device);
    for (int k = 0; k < shape.pieces; ++k) member.ready.emplace_back(*device);
  }
  for (int p = 0; p < n_; ++p) {
    lanes_.push_back(std::make_unique<CopyLane>(*members_[p].device, *members_[wrap(p + 1)].device,
                                                std::max<size_t>(shape.largest, 1),
                                                label_of(call)));
    lanes_.back()->reserve(shape.sends);
  }
}

void PushRing::take_inboxes(size_t bytes) {
  for (Member& member : members_) member.inbox = scratch_.take(bytes, *member.comm);
}

void PushRing::open() {
  for (Member& member : members_) member.here.record(*member.comm);
  for (int p = 0; p < n_; ++p) {
    members_[wrap(p + 1)].here.wait(push(p));
    if (members_[p].push != members_[p].comm) members_[p].here.wait(push(p));
  }
}

void PushRing::close() {
  for (Member& member : members_) {
    if (member.push == member.comm) continue;
    member.pushed.record(*member.push);
    member.pushed.wait(*member.comm);
  }
}

void PushRing::send(int p, void* dst, const void* src, size_t bytes, int piece) {
  Member& member = members_[p];
  if (piece >= 0 && bytes != 0 && member.push != member.comm) {
    member.ready[piece].wait(*member.push);
  }
  lanes_[p]->send(dst, src, bytes, *member.push);
}

void PushRing::receive(int q) { lanes_[wrap(q - 1)]->receive(comm(q)); }

void PushRing::mark_ready(int q, int piece) {
  Member& member = members_[q];
  if (member.push != member.comm) member.ready[piece].record(*member.comm);
}

void PushRing::combine(int q, void* dst, const void* a, const void* b, size_t count, double scale) {
  fabric::combine(call_, dst, a, b, count, scale, comm(q));
}

void PushRing::copy(int q, void* out, const void* in, size_t bytes) {
  copy_within(call_, out, in, bytes, comm(q));
}

}  // namespace fabric
