// See collective/copy/steps.h.
#include "collective/copy/steps.h"

#include "fabric/event_log.h"
#include "fabric/path_counters.h"

namespace fabric {

void copy_within(const CollectiveCall& call, void* out, const void* in, size_t bytes,
                 Stream& stream) {
  if (bytes == 0 || out == in) return;
  Device& device = stream.device();
  device.driver().copy(out, device.ordinal(), in, device.ordinal(), bytes, stream.handle());
  path_counters::count(Path::kLocalCopy, bytes);
  event_log::log(EventKind::kCopy, device.index(), stream.id(), device.index(), bytes,
                 call.sequence, call.detail);
}

void combine(const CollectiveCall& call, void* dst, const void* a, const void* b, uint64_t count,
             double scale, Stream& stream) {
  if (count == 0) return;
  Device& device = stream.device();
  const CollectiveArgs& args = call.args[0];
  device.driver().combine(dst, a, b, count, args.dtype, args.op, scale, device.ordinal(),
                          stream.handle());
  log_combine(call, count, stream);
}

void log_combine(const CollectiveCall& call, uint64_t count, const Stream& stream) {
  const uint64_t bytes = count * dtype_bytes(call.args[0].dtype);
  path_counters::count(Path::kCombine, bytes);
  event_log::log(EventKind::kCollectiveCombine, stream.device().index(), stream.id(), kNoDevice,
                 bytes, call.sequence, call.detail);
}

}  // namespace fabric
