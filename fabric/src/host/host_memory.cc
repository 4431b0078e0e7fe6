// How much memory the host driver's devices may still take. `weft devices` asks.
#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "host/host_driver.h"

namespace fabric::host {

uint64_t HostDriver::free_bytes(int) const {
  const uint64_t used = used_bytes_.load(std::memory_order_relaxed);
  const uint64_t left = total_bytes_ > used ? total_bytes_ - used : 0;
  std::ifstream info("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  while (info >> name >> kib) {
    if (name == "MemAvailable:") return std::min(left, kib * 1024);
    info.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return left;
}

}  // namespace fabric::host
