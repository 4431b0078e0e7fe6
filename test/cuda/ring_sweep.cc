// How copy-ring should cut its payload: all-reduce of f32 over the given devices by batch, pieces and
// smallest piece, called and in a graph of ten, without Node. Prints microseconds, medians of five
// rounds, from 1 MiB on. build_check.sh builds it.
//   ring_sweep [device...] (default cuda:0 cuda:1)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "collective/algorithms.h"
#include "fabric/algorithm.h"
#include "fabric/allocator.h"
#include "fabric/fabric.h"
#include "fabric/graph.h"
#include "fabric/group.h"

namespace {

using namespace fabric;
using Clock = std::chrono::steady_clock;

constexpr int64_t kWaitMs = 30'000;
constexpr int kRounds = 5;
constexpr int kInside = 10;  // reductions in a graph

class Sweep {
 public:
  explicit Sweep(const std::vector<std::string>& names) {
    for (const std::string& name : names) devices_.push_back(&open_device(name));
    largest_ = (devices_[0]->kind() == DriverKind::kHost ? size_t{8} : size_t{512}) << 20;
    for (Device* device : devices_) {
      streams_.push_back(&device->compute());
      blocks_.push_back(device->allocator().allocate(largest_, device->compute()));
      device->driver().fill(blocks_.back()->ptr, device->ordinal(), 0, largest_,
                            device->compute().handle());
    }
    group_ = Group::create(devices_);
    force_algorithm("copy-ring");
  }

  void row(uint64_t batch_mib, uint64_t pieces, uint64_t piece_kib) {
    ring_tuning() = {.batch_bytes = batch_mib << 20,
                     .piece_bytes = piece_kib << 10,
                     .max_pieces = pieces};
    std::printf("%9llu %6llu %9llu ", static_cast<unsigned long long>(batch_mib),
                static_cast<unsigned long long>(pieces),
                static_cast<unsigned long long>(piece_kib));
    for (size_t mib : {1, 2, 4, 8, 16, 64, 256, 512}) {
      if (mib << 20 > largest_) break;
      const int calls = mib >= 64 ? kInside : 5 * kInside;
      const double called = time(calls, [&] { reduce(mib << 20); });
      auto capture = Capture::begin(streams_);
      for (int i = 0; i < kInside; ++i) reduce(mib << 20);
      auto graph = capture->end();
      const double replayed = time(calls / kInside, [&] { graph->launch(streams_); }) / kInside;
      std::printf(" %zu: %.0f/%.0f", mib, called, replayed);
    }
    std::printf("\n");
  }

 private:
  void reduce(size_t bytes) {
    std::vector<CollectiveArgs> args(devices_.size());
    for (size_t r = 0; r < devices_.size(); ++r) {
      args[r].count = bytes / sizeof(float);
      args[r].in = args[r].out = blocks_[r]->ptr;
      args[r].stream = streams_[r];
    }
    auto works = group_->submit_all(args);
    for (size_t r = 0; r < devices_.size(); ++r) {
      works[r]->wait_launched();
      works[r]->stream_wait(*streams_[r]);
    }
  }

  void drain() {
    for (Stream* stream : streams_) {
      if (!stream->device().driver().synchronize_stream(stream->handle(), kWaitMs)) {
        fail(ErrorCode::kDevice, "%s was not done in %lld ms", stream->device().name().c_str(),
             static_cast<long long>(kWaitMs));
      }
    }
  }

  template <typename Run>
  double time(int calls, Run&& run) {
    run();
    drain();
    std::vector<double> samples;
    for (int round = 0; round < kRounds; ++round) {
      const auto start = Clock::now();
      for (int i = 0; i < calls; ++i) run();
      drain();
      const std::chrono::duration<double, std::micro> taken = Clock::now() - start;
      samples.push_back(taken.count() / calls);
    }
    std::sort(samples.begin(), samples.end());
    return samples[kRounds / 2];
  }

  std::vector<Device*> devices_;
  std::vector<Stream*> streams_;
  std::vector<Block*> blocks_;
  std::shared_ptr<Group> group_;
  size_t largest_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) names = {"cuda:0", "cuda:1"};
  try {
    Sweep sweep(names);
    std::printf("batch MiB pieces piece KiB  size in MiB: called/in a graph, us\n");
    for (uint64_t batch : {64, 128, 256, 1024}) {
      for (uint64_t pieces : {2, 3, 4, 8}) sweep.row(batch, pieces, 1024);
    }
    for (uint64_t piece : {256, 512, 2048, 4096}) sweep.row(256, 2, piece);
  } catch (const fabric::Error& error) {
    std::fprintf(stderr, "ring_sweep: %s\n", error.what());
    return 1;
  }
  return 0;
}
