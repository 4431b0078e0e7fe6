// time_in_turn: see timing.h. A kernel that only waits goes first, so that the launches behind
// it are queued before the first of them runs: what is timed is the device, not the host.
#include <algorithm>

#include "cuda/gemm/timing.h"
#include "fabric/cuda_launch.h"

namespace weft::cuda {
namespace {

constexpr int64_t kLaunchNs = 8'000;  // of the host, generously
constexpr int64_t kMostHoldNs = 4'000'000;
constexpr int64_t kTimeoutMs = 60'000;

__global__ void hold_kernel(int64_t nanoseconds) {
  uint64_t begin, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
  do {
    __nanosleep(1000);
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  } while (now - begin < static_cast<uint64_t>(nanoseconds));
}

}  // namespace

std::vector<double> time_in_turn(const std::vector<std::function<void()>>& runs, int repeats,
                                 int rounds, fabric::Stream& stream,
                                 const std::function<void()>& before) {
  fabric::Device& device = stream.device();
  const size_t count = runs.size();
  struct Marks {
    fabric::Event start, stop;
  };
  std::vector<Marks> marks;
  for (size_t i = 0; i < count; ++i) {
    marks.push_back({fabric::Event(device, true), fabric::Event(device, true)});
  }
  for (const auto& run : runs) run();  // loads the kernels

  std::vector<std::vector<double>> taken(count);
  for (int round = 0; round < rounds; ++round) {
    const int64_t hold = std::min<int64_t>(kMostHoldNs, kLaunchNs * (repeats + 1) * count);
    hold_kernel<<<1, 1, 0, static_cast<cudaStream_t>(stream.handle())>>>(hold);
    fabric::cuda::check_launch("hold_kernel");
    for (size_t i = 0; i < count; ++i) {
      if (before) before();
      marks[i].start.record(stream);
      for (int r = 0; r < repeats; ++r) runs[i]();
      marks[i].stop.record(stream);
    }
    if (count > 0 && !marks[count - 1].stop.synchronize(kTimeoutMs)) return {};
    for (size_t i = 0; i < count; ++i) {
      const double ms = device.driver().elapsed_ms(marks[i].start.handle(), marks[i].stop.handle());
      taken[i].push_back(ms / repeats);
    }
  }
  // The median: under load the card lowers its clock, and a burst before that tells too little.
  std::vector<double> out;
  for (auto& list : taken) {
    std::nth_element(list.begin(), list.begin() + rounds / 2, list.end());
    out.push_back(list[static_cast<size_t>(rounds / 2)]);
  }
  return out;
}

}  // namespace weft::cuda
