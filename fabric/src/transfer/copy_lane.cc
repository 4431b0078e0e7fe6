// Moves bytes between two devices, directly or through staging. Called by transfer/transfer.cc and
// by the copy algorithms; the ordering rules are in transfer/copy_lane.h.
#include "transfer/copy_lane.h"

#include <algorithm>

#include "fabric/path_counters.h"
#include "topology/peer_access.h"

namespace fabric {

CopyLane::CopyLane(Device& from, Device& to, size_t largest, CopyLabel label)
    : from_(from), to_(to), peer_(reaches(from, to)), largest_(largest), label_(label) {}

CopyLane::~CopyLane() {
  for (Parcel& parcel : parcels_) {
    if (parcel.staging.ptr != nullptr) release_staging(parcel.staging, parcel.last_user);
  }
}

void CopyLane::equip(Parcel& parcel) {
  if (!parcel.sent) parcel.sent = Event(from_);
  if (peer_ || parcel.staging.ptr != nullptr) return;
  if (!parcel.emptied) parcel.emptied = Event(to_);
  Driver& owner = from_.kind() == DriverKind::kHost ? to_.driver() : from_.driver();
  parcel.staging = acquire_staging(owner, largest_);
}

void CopyLane::reserve(uint64_t sends) {
  for (uint64_t i = 0; i < std::min<uint64_t>(sends, kBuffers); ++i) equip(parcels_[i]);
}

void CopyLane::send(void* dst, const void* src, size_t bytes, Stream& sender) {
  if (sent_ - received_ >= kBuffers || bytes > largest_) {
    fail(ErrorCode::kUsage, "lane %s to %s: %llu sends wait, %zu bytes of at most %zu",
         from_.name().c_str(), to_.name().c_str(),
         static_cast<unsigned long long>(sent_ - received_), bytes, largest_);
  }
  Parcel& parcel = parcels_[sent_ % kBuffers];
  parcel.dst = dst;
  parcel.bytes = bytes;
  if (bytes != 0) {
    equip(parcel);
    path_counters::count(peer_ ? Path::kPeerCopy : Path::kStagedCopy, bytes);
    if (peer_) {
      from_.driver().copy(dst, to_.ordinal(), src, from_.ordinal(), bytes, sender.handle());
    } else {
      parcel.emptied.wait(sender);
      parcel.last_user = &sender;
      from_.driver().copy(parcel.staging.ptr, kHostMemory, src, from_.ordinal(), bytes,
                          sender.handle());
    }
    event_log::log(EventKind::kCopy, from_.index(), sender.id(), to_.index(), bytes, label_.id,
                   label_.detail);
    parcel.sent.record(sender);
  }
  ++sent_;
}

void CopyLane::receive(Stream& receiver) {
  Parcel& parcel = parcels_[received_++ % kBuffers];
  if (parcel.bytes == 0) return;
  parcel.sent.wait(receiver);
  if (peer_) return;
  to_.driver().copy(parcel.dst, to_.ordinal(), parcel.staging.ptr, kHostMemory, parcel.bytes,
                    receiver.handle());
  parcel.last_user = &receiver;
  event_log::log(EventKind::kCopy, to_.index(), receiver.id(), from_.index(), parcel.bytes,
                 label_.id, label_.detail);
  parcel.emptied.record(receiver);
}

void CopyLane::fetch(void* dst, const void* src, size_t bytes, Stream& sender, Stream& receiver) {
  if (bytes == 0) return;
  if (peer_) {
    path_counters::count(Path::kPeerCopy, bytes);
    to_.driver().copy(dst, to_.ordinal(), src, from_.ordinal(), bytes, receiver.handle());
    event_log::log(EventKind::kCopy, to_.index(), receiver.id(), from_.index(), bytes, label_.id,
                   label_.detail);
    return;
  }
  for (size_t done = 0; done < bytes; done += largest_) {
    size_t piece = std::min(largest_, bytes - done);
    send(static_cast<char*>(dst) + done, static_cast<const char*>(src) + done, piece, sender);
    receive(receiver);
  }
}

}  // namespace fabric
