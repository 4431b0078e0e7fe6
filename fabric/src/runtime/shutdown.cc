// The end of the fabric: waits for all streams and stops the drivers' threads, within one limit.
// Called once, at the end of a process and by tests.
#include "runtime/shutdown.h"

#include <atomic>

#include "fabric/fabric.h"
#include "runtime/driver_table.h"

namespace fabric {
namespace {

constexpr int64_t kShutdownMs = 10'000;

std::atomic<bool> g_stopped{false};

}  // namespace

bool shut_down() { return g_stopped.load(std::memory_order_acquire); }

void shutdown() {
  if (g_stopped.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t begin = event_log::now_ns();
  auto left_ms = [&] {
    const auto spent = static_cast<int64_t>((event_log::now_ns() - begin) / 1'000'000);
    return kShutdownMs > spent ? kShutdownMs - spent : 0;
  };
  for (Device* device : devices()) {
    for (Stream* stream : device->streams()) {
      try {
        stream->device().driver().synchronize_stream(stream->handle(), left_ms());
      } catch (const Error&) {  // a capture that nobody ended
      }
    }
  }
  for (Driver* driver : registered_drivers()) driver->stop(left_ms() + 100);
}

}  // namespace fabric
