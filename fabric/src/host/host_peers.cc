// Peers of the host driver: who reaches whose memory, copies by loads and stores, and what an
// injected fault of a pair does to the bytes that cross it. Ownership of streams is in
// host_driver.cc.
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "fabric/error.h"
#include "fabric/host_queue.h"
#include "host/fault_state.h"
#include "host/host_driver.h"

namespace fabric::host {
namespace {

/// Loads and stores of one thread, a word at a time, so that no memcpy stands behind it.
void move_words(void* dst, const void* src, size_t bytes) {
  auto* to = static_cast<volatile unsigned char*>(dst);
  const auto* from = static_cast<const volatile unsigned char*>(src);
  const bool words = (reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src)) % 8 == 0;
  size_t done = 0;
  for (; words && done + 8 <= bytes; done += 8) {
    *reinterpret_cast<volatile uint64_t*>(to + done) =
        *reinterpret_cast<const volatile uint64_t*>(from + done);
  }
  for (; done < bytes; ++done) to[done] = from[done];
}

}  // namespace

void cross_pair(int from, int to, void* dst, size_t bytes) {
  if (from == to || from < 0 || to < 0 || bytes == 0) return;
  switch (pair_fault(from, to)) {
    case faults::PairFault::kNone:
      return;
    case faults::PairFault::kLies:
      static_cast<unsigned char*>(dst)[bytes / 2] ^= 0x10;
      return;
    case faults::PairFault::kHangs:
      wait_while_pair_hangs(from, to);
      return;
    case faults::PairFault::kSlow:
      std::this_thread::sleep_for(std::chrono::nanoseconds(bytes * 20));  // at most 0.05 GB/s
      return;
  }
}

void HostDriver::copy_by_kernel(void* dst, int dst_ordinal, const void* src, int src_ordinal,
                                size_t bytes, StreamHandle stream) {
  if (!can_access_peer(src_ordinal, dst_ordinal)) {
    fail(ErrorCode::kPeerAccess, "host:%d and host:%d cannot reach each other's memory",
         src_ordinal, dst_ordinal);
  }
  if (bytes == 0) return;
  const int owner = static_cast<Queue*>(stream)->ordinal();
  const int other = dst_ordinal == owner ? src_ordinal : dst_ordinal;
  enqueue(stream, [=] {
    move_words(dst, src, bytes);
    cross_pair(owner, other, dst, bytes);
  });
}

LinkInfo HostDriver::link(int from, int to) {
  LinkInfo info;
  info.native_atomics = true;  // threads of one machine
  return info;
}

}  // namespace fabric::host
