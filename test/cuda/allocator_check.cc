// The allocator on one device, without Node: a random run of 10^6 allocations and frees over four
// streams, forced and real exhaustion, and the cost of a cache hit. build_check.sh builds it.
//   allocator_check [device = cuda:0] [operations = 1000000]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "memory/allocator_exhaustion.h"
#include "memory/allocator_trace.h"

namespace {

constexpr double kMiB = 1 << 20;
int failures = 0;

void check(const char* what, const std::string& failure) {
  std::printf("%-28s %s\n", what, failure.empty() ? "ok" : ("FAIL " + failure).c_str());
  std::fflush(stdout);
  failures += failure.empty() ? 0 : 1;
}

void run(fabric::Device& device, int64_t operations) {
  using namespace fabric::test;
  const bool gpu = device.kind() == fabric::DriverKind::kCuda;
  TraceOptions options;
  options.operations = operations;
  if (gpu) options.most_bytes = size_t{2} << 30, options.largest_shift = 26;
  const TraceResult r = AllocatorTrace(device, options).run();
  std::printf("device       %s, %s\n", device.name().c_str(), device.properties().model.c_str());
  std::printf("operations   %lld allocations, %lld frees, %lld cross-stream uses in %.2f s\n",
              static_cast<long long>(r.allocations), static_cast<long long>(r.frees),
              static_cast<long long>(r.uses), r.seconds);
  std::printf("bytes        %lld blocks read back, %lld wrong\n",
              static_cast<long long>(r.verified), static_cast<long long>(r.wrong));
  std::printf("memory       peak %.1f MiB held, %.1f MiB reserved, %llu segments taken\n",
              static_cast<double>(r.stats.peak_allocated_bytes) / kMiB,
              static_cast<double>(r.stats.peak_reserved_bytes) / kMiB,
              static_cast<unsigned long long>(r.stats.segment_allocations));
  std::printf(
      "fragmentation %.1f %% of the reserved bytes on average, %.1f %% at worst, are free\n"
      "             beside held blocks; %.1f %% are free at all\n",
      100 * r.fragmentation, 100 * r.fragmentation_worst, 100 * r.idle);
  std::printf("cache hits   %.2f %%\n", 100.0 * static_cast<double>(r.stats.cache_hits) /
                                            static_cast<double>(r.stats.allocations));
  check("no overlap, no leak", r.failure);

  ExhaustionResult forced = force_exhaustion(device, size_t{256} << 20);
  std::printf("message      %s\naccount      %s\n", forced.message.c_str(), forced.account.c_str());
  check("forced out of memory", forced.failure);
  if (gpu) {
    ExhaustionResult real;
    const int taken = exhaust_driver(device, size_t{1} << 30, real);
    std::printf("message      %s\n", real.message.c_str());
    check(("real out of memory, " + std::to_string(taken) + " GiB").c_str(), real.failure);
  }
  double ns = cache_hit_ns(device, 100'000);
  for (int i = 0; i < 9; ++i) ns = std::min(ns, cache_hit_ns(device, 100'000));
  std::printf("cache hit    %.0f ns for allocate and free\n", ns);
  check("cache hit under 1 us", ns < 1000 ? "" : "too slow");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(fabric::open_device(argc > 1 ? argv[1] : "cuda:0"),
        argc > 2 ? std::atoll(argv[2]) : 1'000'000);
  } catch (const fabric::Error& error) {
    check(fabric::error_class_name(error.code()), error.message());
  }
  std::printf("allocator_check: %s\n", failures == 0 ? "ok" : "FAILED");
  fabric::shutdown();
  return failures == 0 ? 0 : 1;
}
