// Moves bytes between two devices, directly or through staging. Called by transfer/transfer.cc and by the
// copy algorithms; the ordering rules are in transfer/copy_lane.h.
#include "transfer/copy_lane.h"

#include <algorithm>

namespace fabric {

CopyLane::CopyLane(Device& from, Device& to, size_t largest)
    : from_(from), to_(to), peer_(reaches(from, to)), largest_(largest) {}

CopyLane::~CopyLane() {
  for (Parcel& parcel : parcels_) {
    if (parcel.staging.ptr != nullptr) release_staging(parcel.staging, last_receiver_);
  }
}

void CopyLane::send(void* dst, const void* src, size_t bytes, Stream& sender) {
  if (sent_ - received_ >= kBuffers || bytes > largest_) {
    fail(ErrorCode::kUsage, "lane %s to %s: %llu sends wait, %zu bytes of at most %zu",
         from_.name().c_str(), to_.name().c_str(),
         static_cast<unsigned long long>(sent_ - received_), bytes, largest_);
  }
  Parcel& parcel = parcels_[sent_++ % kBuffers];
  parcel.dst = dst;
  parcel.bytes = bytes;
  if (bytes == 0) return;
  if (peer_) {
    from_.driver().copy(dst, to_.ordinal(), src, from_.ordinal(), bytes, sender.handle());
  } else {
    if (parcel.staging.ptr == nullptr) {
      Driver& owner = from_.kind() == DriverKind::kHost ? to_.driver() : from_.driver();
      parcel.staging = acquire_staging(owner, largest_);
      parcel.emptied = Event(to_);
    } else {
      parcel.emptied.wait(sender);
    }
    from_.driver().copy(parcel.staging.ptr, kHostMemory, src, from_.ordinal(), bytes,
                        sender.handle());
  }
  event_log::log(EventKind::kCopy, from_.index(), sender.id(), to_.index(), bytes, 0);
  if (!parcel.sent) parcel.sent = Event(from_);
  parcel.sent.record(sender);
}

void CopyLane::receive(Stream& receiver) {
  Parcel& parcel = parcels_[received_++ % kBuffers];
  if (parcel.bytes == 0) return;
  parcel.sent.wait(receiver);
  if (peer_) return;
  last_receiver_ = &receiver;
  to_.driver().copy(parcel.dst, to_.ordinal(), parcel.staging.ptr, kHostMemory, parcel.bytes,
                    receiver.handle());
  parcel.emptied.record(receiver);
}

void CopyLane::fetch(void* dst, const void* src, size_t bytes, Stream& sender, Stream& receiver) {
  if (bytes == 0) return;
  if (peer_) {
    to_.driver().copy(dst, to_.ordinal(), src, from_.ordinal(), bytes, receiver.handle());
    event_log::log(EventKind::kCopy, to_.index(), receiver.id(), from_.index(), bytes, 0);
    return;
  }
  for (size_t done = 0; done < bytes; done += largest_) {
    size_t piece = std::min(largest_, bytes - done);
    send(static_cast<char*>(dst) + done, static_cast<const char*>(src) + done, piece, sender);
    receive(receiver);
  }
}

}  // namespace fabric
