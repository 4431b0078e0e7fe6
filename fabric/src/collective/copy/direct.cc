// The direct path of `copy-oneshot` on the host driver; only collective/copy/oneshot.cc calls it.
//
// Design. It runs under the launch mutex, after the group made every comm stream wait for its
// producer. A wait for an event that has passed enqueues nothing, so an idle comm stream says that
// the rank's input is complete and that earlier collectives are over; reading that acquires what
// its worker wrote. No other collective can start meanwhile (launch mutex), and whoever enqueues on
// these streams afterwards is ordered after this thread. Hence combining here is the same as an
// entry at the head of every queue: the done events recorded behind it pass at once. Rank order, as
// in the queued path, with the same rounding step by step: the same bits.
//  - What breaks it: a stream that is being captured looks idle, so those take the queued path; so
//    do devices with an injected delay or a lost peer, which would otherwise not be felt.
#include "collective/copy/direct.h"

#include <array>
#include <cstring>

#include "collective/algorithms.h"
#include "fabric/host_queue.h"
#include "host/fault_state.h"
#include "host/host_driver.h"
#include "transfer/copy_lane.h"

namespace fabric {
namespace {

constexpr size_t kDirectBytes =
    4096;  // of a rank's payload, and of the partial result on the stack
constexpr size_t kDirectRanks = 16;

bool ready(std::span<Device* const> devices) {
  for (Device* device : devices) {
    if (device->kind() != DriverKind::kHost) return false;
    Stream& comm = device->comm();
    if (host::is_capturing(static_cast<host::Queue*>(comm.handle())) || !comm.idle()) return false;
    if (host::device_delay_us(device->ordinal()) != 0) return false;
    for (Device* peer : devices) {
      if (peer != device && !reaches(*device, *peer)) return false;
    }
  }
  return true;
}

}  // namespace

bool reduce_directly(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  const CollectiveArgs& call = args[0];
  const size_t bytes = call.count * dtype_bytes(call.dtype);
  const size_t n = devices.size();
  if (bytes > kDirectBytes || n < 2 || n > kDirectRanks || !ready(devices)) return false;
  alignas(64) std::array<std::byte, kDirectBytes> partial;
  const void* so_far = call.in;
  for (size_t r = 1; r < n; ++r) {
    host::combine_now(partial.data(), so_far, args[r].in, call.count, call.dtype, call.op,
                      r + 1 == n ? last_scale(call.op, n) : 1.0);
    so_far = partial.data();
  }
  for (size_t r = 0; r < n; ++r) std::memcpy(args[r].out, partial.data(), bytes);
  return true;
}

}  // namespace fabric
