// See runtime/kernel_turns.h.
#include "runtime/kernel_turns.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "fabric/error.h"

namespace fabric::kernel_turns {
namespace {

/// Who enqueued last, and where.
struct Turn {
  uint64_t owner = 0;
  uint64_t capture = 0;
  std::vector<Stream*> streams;  // of Device objects, which live as long as the process
};

/// Of one physical device.
struct Place {
  Turn eager, captured;
};

Turn& turn_at(const Device& device, bool captured) {
  static auto* places = new std::map<std::pair<const Driver*, int>, Place>;  // by launch_order()
  Place& place = (*places)[{&device.driver(), device.ordinal()}];
  return captured ? place.captured : place.eager;
}

void order_behind(Stream& later, Stream& earlier, bool captured) {
  if (&later == &earlier) return;
  if (captured) return order_after(later, earlier);
  Event event(earlier.device());
  if (!event.record_eager(earlier)) {
    fail(ErrorCode::kUsage,
         "%s shares a GPU with %s, whose earlier collective must end first, but a capture over %s "
         "is going on: make the call before the capture or after it",
         later.device().name().c_str(), earlier.device().name().c_str(),
         earlier.device().name().c_str());
  }
  event.wait(later);
}

}  // namespace

void take(uint64_t owner, uint64_t capture, std::span<const Part> parts) {
  const bool captured = capture != 0;
  for (const Part& part : parts) {
    const Turn& last = turn_at(*part.device, captured);
    if (last.owner == owner || last.capture != capture) continue;
    for (Stream* stream : last.streams) order_behind(*part.stream, *stream, captured);
  }
  for (const Part& part : parts) {
    Turn& mine = turn_at(*part.device, captured);
    if (mine.owner != owner || mine.capture != capture) mine = {owner, capture, {}};
    if (std::ranges::find(mine.streams, part.stream) == mine.streams.end()) {
      mine.streams.push_back(part.stream);
    }
  }
}

}  // namespace fabric::kernel_turns
