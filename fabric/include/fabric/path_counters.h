// How often data took each path, and how often each collective algorithm was chosen, since the
// process began. Whoever enqueues a copy or a sum counts it; snapshots read.
//
// Relaxed counters, one cache line each: a count is never lost, but two of them read together may
// stand a moment apart. Counted whatever the event log's mode is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace fabric {

enum class Path : uint8_t {
#define WEFT_PATH(enumerator, name) enumerator,
#include "fabric/paths.def"
#undef WEFT_PATH
};

namespace path_counters {

inline constexpr size_t kPaths = 0
#define WEFT_PATH(enumerator, name) +1
#include "fabric/paths.def"
#undef WEFT_PATH
    ;
/// Algorithms by their place in algorithms(); those beyond share the last one's counter.
inline constexpr size_t kAlgorithms = 64;

struct alignas(64) Counter {
  std::atomic<uint64_t> times{0};
  std::atomic<uint64_t> bytes{0};
  void add(uint64_t payload) {
    times.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(payload, std::memory_order_relaxed);
  }
};
extern std::array<Counter, kPaths> g_paths;
extern std::array<Counter, kAlgorithms> g_algorithms;

const char* name(Path path);
inline void count(Path path, uint64_t bytes) { g_paths[static_cast<size_t>(path)].add(bytes); }
inline void count_algorithm(uint64_t index, uint64_t bytes) {
  g_algorithms[index < kAlgorithms ? index : kAlgorithms - 1].add(bytes);
}

}  // namespace path_counters
}  // namespace fabric
