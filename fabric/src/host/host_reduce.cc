// Tiny reductions of idle host devices, done at once by the thread that asks: a wake-up of a stream
// worker costs more than the whole reduction. `copy-oneshot` tries it under the launch mutex.
//
// Design. The caller made every stream wait for its producer. A wait for an event that has passed
// enqueues nothing, so an idle stream says that the input is complete and that earlier work on it is
// over; reading that acquires what its worker wrote. No other collective can start meanwhile (launch
// mutex), and whoever enqueues on these streams afterwards is ordered after this thread. Hence
// combining here is the same as an entry at the head of every queue: events recorded behind it pass
// at once. Rank order and rounding are those of the queued path: the same bits.
//  - What breaks it: a stream that is being captured looks idle, so those take the queued path; so
//    do devices with an injected delay or a lost peer, which would otherwise not be felt.
#include <array>
#include <cstring>

#include "host/fault_state.h"
#include "host/host_driver.h"

namespace fabric::host {
namespace {

// Of a part, and of the partial result on the stack.
constexpr size_t kMostBytes = 4096;
constexpr size_t kMostParts = 16;

bool ready(std::span<const ReducePart> parts) {
  for (const ReducePart& part : parts) {
    const auto* queue = static_cast<const Queue*>(part.stream);
    if (queue->capturing() || !queue->idle() || device_delay_us(part.ordinal) != 0) return false;
    for (const ReducePart& peer : parts) {
      if (peer.ordinal != part.ordinal && !peer_allowed(part.ordinal, peer.ordinal)) return false;
    }
  }
  return true;
}

}  // namespace

bool HostDriver::reduce_at_once(std::span<const ReducePart> parts, size_t count, DType dtype,
                                ReduceOp op, double scale) {
  const size_t bytes = count * dtype_bytes(dtype);
  const size_t n = parts.size();
  if (bytes > kMostBytes || n < 2 || n > kMostParts || !ready(parts)) return false;
  alignas(64) std::array<std::byte, kMostBytes> partial;
  const void* so_far = parts[0].in;
  for (size_t r = 1; r < n; ++r) {
    combine_now(partial.data(), so_far, parts[r].in, count, dtype, op, r + 1 == n ? scale : 1.0);
    so_far = partial.data();
  }
  for (const ReducePart& part : parts) std::memcpy(part.out, partial.data(), bytes);
  return true;
}

}  // namespace fabric::host
