// See bench/pair_bench.h.
#include "bench/pair_bench.h"

#include <chrono>
#include <cstring>

#include "fabric/fabric.h"

#if defined(WEFT_HAVE_CUDA)
#include "cuda/pair_push.h"
#endif

namespace weft::bench {
namespace {

constexpr size_t kControlBytes = 512;
constexpr size_t kResultAt = 256;  // away from the flag that the peer writes
constexpr int kPingLimitMs = 5000;

}  // namespace

const char* pair_way_name(PairWay way) {
  constexpr const char* kNames[] = {"copy", "kernel copy", "stores", "tma"};
  return kNames[static_cast<int>(way)];
}

PairBench::PairBench(Device& from, Device& to, uint64_t max_bytes)
    : max_bytes_(max_bytes), pattern_(DType::kF32, 1) {
  if (&from == &to || from.kind() != to.kind()) {
    fail(ErrorCode::kUsage, "a pair is two devices of one driver, not %s and %s",
         from.name().c_str(), to.name().c_str());
  }
  if (!fabric::enable_peer(from, to) || !fabric::enable_peer(to, from)) {
    fail(ErrorCode::kPeerAccess, "%s and %s do not reach each other's memory", from.name().c_str(),
         to.name().c_str());
  }
  try {
    for (int i = 0; i < 2; ++i) {
      Device& device = i == 0 ? from : to;
      const auto take = [&](size_t bytes) {
        blocks_.push_back(device.allocator().allocate(bytes, device.compute()));
        return blocks_.back()->ptr;
      };
      ends_[i] = {&device, take(max_bytes), take(max_bytes), take(kControlBytes)};
      pattern_.fill(device, 0, ends_[i].out, max_bytes);
    }
  } catch (...) {
    for (fabric::Block* block : blocks_) block->device->allocator().free(block);
    throw;
  }
}

PairBench::~PairBench() {
  // Both streams were drained after the last use, or hang with what they use: then it stays.
  for (fabric::Block* block : blocks_) {
    for (const End& end : ends_)
      block->device->allocator().record_use(block, end.device->compute());
    block->device->allocator().free(block);
  }
}

void PairBench::drain_both() {
  for (const End& end : ends_) drain(*end.device);
}

void PairBench::push(PairWay way, int ctas, const End& from, const End& to, uint64_t bytes) {
  Stream& stream = from.device->compute();
  fabric::Driver& driver = from.device->driver();
  const int source = from.device->ordinal(), target = to.device->ordinal();
  switch (way) {
    case PairWay::kCopy:
      return driver.copy(to.in, target, from.out, source, bytes, stream.handle());
    case PairWay::kKernelCopy:
      return driver.copy_by_kernel(to.in, target, from.out, source, bytes, stream.handle());
    default:
#if defined(WEFT_HAVE_CUDA)
      if (way == PairWay::kStores)
        return cuda::push_by_stores(to.in, from.out, bytes, ctas, stream);
      return cuda::push_by_tma(to.in, from.out, bytes, ctas, stream);
#else
      fail(ErrorCode::kDevice, "this build of weft has no device code");
#endif
  }
}

void PairBench::run(PairFigure& figure, PairWay way, uint64_t bytes, int rounds, int calls) {
  for (const End& end : ends_) SumPattern::spoil(*end.device, end.in, bytes);
  push(way, figure.ctas, ends_[0], ends_[1], bytes);
  push(way, figure.ctas, ends_[1], ends_[0], bytes);
  drain_both();
  for (const End& end : ends_) figure.wrong += pattern_.wrong(*end.device, end.in, bytes);
  for (int round = 0; round < 2 * rounds; ++round) {
    const bool both = round % 2 == 1;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) {
      push(way, figure.ctas, ends_[0], ends_[1], bytes);
      if (both) push(way, figure.ctas, ends_[1], ends_[0], bytes);
    }
    drain_both();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    (both ? figure.both_us : figure.one_us).push_back(took.count() / calls);
  }
}

std::vector<PairFigure> PairBench::measure(uint64_t bytes, const std::vector<int>& ctas, int rounds,
                                           int calls) {
  if (bytes == 0 || bytes % 16 != 0 || bytes > max_bytes_) {
    fail(ErrorCode::kUsage, "a push of %llu bytes: give a multiple of 16 up to %llu",
         static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(max_bytes_));
  }
  std::vector<PairFigure> figures;
  const auto add = [&](PairWay way, int count) {
    PairFigure figure{pair_way_name(way), count, {}, {}, 0, ""};
    try {
      run(figure, way, bytes, rounds, calls);
    } catch (const Error& error) {
      figure.error = error.message();
    }
    figures.push_back(std::move(figure));
  };
  add(PairWay::kCopy, 0);
  add(PairWay::kKernelCopy, 0);
  if (ends_[0].device->kind() != fabric::DriverKind::kCuda) return figures;
  for (const PairWay way : {PairWay::kStores, PairWay::kTma}) {
    for (const int count : ctas) add(way, count);
  }
  return figures;
}

double PairBench::flag_ns(int rounds) {
  if (ends_[0].device->kind() != fabric::DriverKind::kCuda) return 0;
#if defined(WEFT_HAVE_CUDA)
  for (const End& end : ends_) {
    end.device->driver().fill(end.control, end.device->ordinal(), 0, kControlBytes,
                              end.device->compute().handle());
  }
  drain_both();
  const auto flag = [](const End& end) { return static_cast<uint64_t*>(end.control); };
  const auto result = [](const End& end) { return static_cast<char*>(end.control) + kResultAt; };
  for (int i = 0; i < 2; ++i) {
    const End &own = ends_[i], &peer = ends_[1 - i];
    cuda::ping_pong(flag(own), flag(peer), i == 0, rounds, kPingLimitMs,
                    reinterpret_cast<cuda::PingResult*>(result(own)), own.device->compute());
  }
  drain_both();
  const End& first = ends_[0];
  fabric::StagingBuffer staging = fabric::acquire_staging(first.device->driver(), kControlBytes);
  first.device->driver().copy(staging.ptr, fabric::kHostMemory, result(first),
                              first.device->ordinal(), sizeof(cuda::PingResult),
                              first.device->compute().handle());
  drain(*first.device);
  cuda::PingResult found;
  std::memcpy(&found, staging.ptr, sizeof(found));
  fabric::release_staging(staging, nullptr);
  if (found.rounds + 1 < static_cast<uint64_t>(rounds)) {
    fail(ErrorCode::kDevice, "a flag between %s and %s came back %llu times of %d within %d ms",
         first.device->name().c_str(), ends_[1].device->name().c_str(),
         static_cast<unsigned long long>(found.rounds), rounds, kPingLimitMs);
  }
  return static_cast<double>(found.ns) / static_cast<double>(found.rounds) / 2;
#else
  return 0;
#endif
}

}  // namespace weft::bench
