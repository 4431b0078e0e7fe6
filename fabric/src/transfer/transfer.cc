// Copies between two devices. Tensors' `to` and the autograd copy nodes call it.
//
// Design. The copy runs on the source's copy-out stream after both sides' work so far: the source's
// because it makes the data, the destination's because its memory may be a reused block that
// earlier work on that stream still reads. Both streams then wait for the copy: the destination's to
// find the data, the source's so that what is enqueued next may overwrite it. Staged,
// the second half runs on the destination's copy-in stream and the copy-out stream waits for it at
// the end, so that one stream stands for the whole transfer and one record_use on it protects both
// buffers.
#include <algorithm>
#include <array>

#include "fabric/fabric.h"
#include "fabric/graph.h"
#include "fabric/path_counters.h"
#include "runtime/gate_watch.h"
#include "transfer/copy_lane.h"

namespace fabric {
namespace {

constexpr size_t kStagedPiece = 4u << 20;
constexpr size_t kAcrossPiece = 32u << 20;

/// Between drivers: through staging memory, each half on its own side's stream. Two pieces are
/// pinned at most, whatever the payload; a piece's buffer is written again behind a gate that opens
/// when the other side has emptied it. What fails half-way keeps its buffers for good: copies that
/// were enqueued may still use them.
Stream& transfer_across(void* dst, Stream& dst_stream, const void* src, Stream& src_stream,
                        size_t bytes) {
  Device& from = src_stream.device();
  Device& to = dst_stream.device();
  require_eager(from, "a copy to another kind of device");
  require_eager(to, "a copy from another kind of device");
  Driver& pinned = from.kind() == DriverKind::kHost ? to.driver() : from.driver();
  std::array<StagingBuffer, 2> buffers{};
  std::array<std::shared_ptr<Gate>, 2> emptied;
  size_t turn = 0;
  for (size_t done = 0; done < bytes; done += kAcrossPiece, turn ^= 1) {
    const size_t piece = std::min(kAcrossPiece, bytes - done);
    if (buffers[turn].ptr == nullptr) buffers[turn] = acquire_staging(pinned, piece);
    if (emptied[turn] != nullptr) from.driver().hold(src_stream.handle(), emptied[turn]);
    from.driver().copy(buffers[turn].ptr, kHostMemory, static_cast<const char*>(src) + done,
                       from.ordinal(), piece, src_stream.handle());
    path_counters::count(Path::kStagedCopy, piece);
    event_log::log(EventKind::kCopy, from.index(), src_stream.id(), to.index(), piece, 0);
    order_after(dst_stream, src_stream);
    to.driver().copy(static_cast<char*>(dst) + done, to.ordinal(), buffers[turn].ptr, kHostMemory,
                     piece, dst_stream.handle());
    if (bytes - done > 2 * kAcrossPiece) emptied[turn] = gate_behind(dst_stream, src_stream);
  }
  for (StagingBuffer& buffer : buffers) release_staging(buffer, &dst_stream);
  return src_stream;
}

}  // namespace

Stream& transfer(void* dst, Stream& dst_stream, const void* src, Stream& src_stream, size_t bytes) {
  check_poison();
  Device& from = src_stream.device();
  Device& to = dst_stream.device();
  if (&src_stream == &dst_stream) {
    if (bytes != 0) {
      from.driver().copy(dst, to.ordinal(), src, from.ordinal(), bytes, src_stream.handle());
      path_counters::count(&from == &to ? Path::kLocalCopy : Path::kPeerCopy, bytes);
      event_log::log(EventKind::kCopy, from.index(), src_stream.id(), to.index(), bytes, 0);
    }
    return src_stream;
  }
  if (&from.driver() != &to.driver()) {
    if (bytes == 0) return src_stream;
    return transfer_across(dst, dst_stream, src, src_stream, bytes);
  }
  Stream& out = from.stream(StreamPurpose::kCopyOut);
  order_after(out, src_stream);
  order_after(out, dst_stream);
  if (bytes != 0) {
    CopyLane lane(from, to, kStagedPiece < bytes ? kStagedPiece : bytes);
    if (lane.peer()) {
      from.driver().copy(dst, to.ordinal(), src, from.ordinal(), bytes, out.handle());
      path_counters::count(&from == &to ? Path::kLocalCopy : Path::kPeerCopy, bytes);
      event_log::log(EventKind::kCopy, from.index(), out.id(), to.index(), bytes, 0);
    } else {
      require_eager(from, "a copy through staging memory");
      Stream& in = to.stream(StreamPurpose::kCopyIn);  // writes behind what `out` has sent
      for (size_t done = 0; done < bytes; done += kStagedPiece) {
        lane.send(static_cast<char*>(dst) + done, static_cast<const char*>(src) + done,
                  std::min(kStagedPiece, bytes - done), out);
        lane.receive(in);
      }
      order_after(out, in);
    }
  }
  order_after(dst_stream, out);
  order_after(src_stream, out);
  return out;
}

}  // namespace fabric
