// A lane carries bytes from one device to another: by a peer copy where the pair has access, else
// through staging memory in pieces. transfer() and the copy algorithms use one for each direction.
//
// Design. Two halves, so that a caller can start all sends before any receive (a ring would
// otherwise run one hop after the other). send() enqueues on a stream of the source and records an
// event; receive() lets a stream of the destination wait for the oldest send that was not received
// yet.
//  - Peer: the copy runs on the sending stream; the event follows it.
//  - Staged: the sending stream copies to a staging buffer; the receiving stream waits and copies
//    from there to the destination. kBuffers buffers take turns: a send waits, on the device, for
//    the event that the receiving stream recorded after it emptied the buffer. So staging stays
//    bounded however far the host runs ahead.
//  - Before send() the caller orders the sending stream after the last use of the destination.
//  - A buffer goes back to the cache behind its last user: the receiving stream, or the sending one
//    when nobody received (a launch that broke half-way).
//  - What breaks it: more than kBuffers sends without a receive; send() refuses that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "fabric/fabric.h"

namespace fabric {

/// Whose copies these are, as the event log tells it; zeros: nobody's.
struct CopyLabel {
  uint64_t id = 0;
  uint32_t detail = 0;
};

class CopyLane {
 public:
  /// `largest` bounds the bytes of one send.
  CopyLane(Device& from, Device& to, size_t largest, CopyLabel label = {});
  ~CopyLane();
  CopyLane(const CopyLane&) = delete;
  CopyLane& operator=(const CopyLane&) = delete;

  bool peer() const { return peer_; }
  /// Takes the events and staging memory of `sends` sends now, so that no send allocates.
  void reserve(uint64_t sends);
  void send(void* dst, const void* src, size_t bytes, Stream& sender);
  void receive(Stream& receiver);
  /// Both halves at once, where the receiver fetches: a peer copy then runs on `receiver`, which
  /// the caller has ordered after the source's producer.
  void fetch(void* dst, const void* src, size_t bytes, Stream& sender, Stream& receiver);

 private:
  static constexpr int kBuffers = 4;
  struct Parcel {
    void* dst = nullptr;
    size_t bytes = 0;
    Event sent;
    Event emptied;
    StagingBuffer staging;
    Stream* last_user = nullptr;  // of `staging`
  };
  void equip(Parcel& parcel);

  Device& from_;
  Device& to_;
  bool peer_;
  size_t largest_;
  CopyLabel label_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  std::array<Parcel, kBuffers> parcels_;
};

}  // namespace fabric
