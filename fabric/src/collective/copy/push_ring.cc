// Streams, lanes and scratch of a ring of copies; the design is in collective/copy/push_ring.h.
#include "collective/copy/push_ring.h"

#include <algorithm>

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

PushRing::PushRing(std::span<CollectiveArgs> args, std::span<Device* const> devices, int first,
                   int pieces, size_t largest, bool overlap)
    : n_(static_cast<int>(devices.size())), call_(args[0]) {
  const std::vector<Device*> list(devices.begin(), devices.end());
  const std::vector<int>& order = cached_ring_order(list);
  const auto start = std::find(order.begin(), order.end(), first) - order.begin();
  members_.reserve(n_);
  for (int p = 0; p < n_; ++p) {
    const int rank = order[(start + p) % n_];
    Device* device = devices[rank];
    Stream* comm = &device->comm();
    Stream* push = overlap ? &device->stream(StreamPurpose::kCopyOut) : comm;
    members_.push_back({rank,
                        device,
                        comm,
                        push,
                        static_cast<const char*>(args[rank].in),
                        static_cast<char*>(args[rank].out),
                        nullptr,
                        {}});
    if (push != comm) {
      for (int k = 0; k < pieces; ++k) members_.back().ready.emplace_back(*device);
    }
  }
  for (int p = 0; p < n_; ++p) {
    lanes_.push_back(std::make_unique<CopyLane>(*members_[p].device, *members_[wrap(p + 1)].device,
                                                std::max<size_t>(largest, 1)));
  }
}

void PushRing::take_inboxes(size_t bytes) {
  for (Member& member : members_) member.inbox = scratch_.take(bytes, *member.comm);
}

void PushRing::open() {
  std::vector<Event> here;
  here.reserve(n_);
  for (Member& member : members_) here.emplace_back(*member.device).record(*member.comm);
  for (int p = 0; p < n_; ++p) {
    here[wrap(p + 1)].wait(push(p));
    if (members_[p].push != members_[p].comm) here[p].wait(push(p));
  }
}

void PushRing::close() {
  for (Member& member : members_) order_after(*member.comm, *member.push);
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
  if (count == 0) return;
  Device& device = *members_[q].device;
  device.driver().combine(dst, a, b, count, call_.dtype, call_.op, scale, device.ordinal(),
                          comm(q).handle());
}

void PushRing::copy(int q, void* out, const void* in, size_t bytes) {
  copy_within(*members_[q].device, out, in, bytes, comm(q));
}

}  // namespace fabric
