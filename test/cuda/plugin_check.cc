// The all-reduce plugin on real GPUs, through groups: bits against a reference in rank order, called and
// replayed, of all-reduce, reduce-scatter and all-gather; a rank that is held, a deadline, an abort, and
// the call after; then microseconds of each algorithm by size, called and in a graph of ten, medians of
// seven rounds. build_check.sh builds it.
//   plugin_check <ringallreduce.so> [device...] (default cuda:0 cuda:1)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fabric/algorithm.h"
#include "fabric/allocator.h"
#include "fabric/fabric.h"
#include "fabric/gate.h"
#include "fabric/graph.h"
#include "fabric/half.h"
#include "fabric/plugin.h"

namespace {

using namespace fabric;
using Clock = std::chrono::steady_clock;

constexpr int64_t kWaitMs = 30'000;
constexpr int kInside = 10;  // reductions in a graph
int g_failed = 0;

void expect(bool good, const std::string& what) {
  if (good) return;
  ++g_failed;
  std::printf("FAILED: %s\n", what.c_str());
}

class Rig {
 public:
  Rig(const std::vector<std::string>& names, size_t largest) : largest_(largest) {
    for (const std::string& name : names) {
      const size_t slash = name.find('/');
      const int split = slash == std::string::npos ? 0 : static_cast<int>(names.size());
      devices_.push_back(&open_device(name, split));
    }
    for (Device* device : devices_) {
      streams_.push_back(&device->compute());
      in_.push_back(device->allocator().allocate(largest_, device->compute()));
      out_.push_back(device->allocator().allocate(largest_, device->compute()));
      device->driver().fill(in_.back()->ptr, device->ordinal(), 0, largest_,
                            device->compute().handle());
    }
    group_ = Group::create(devices_);
  }

  int ranks() const { return static_cast<int>(devices_.size()); }
  Group& group() { return *group_; }
  Device& device(int rank) { return *devices_[rank]; }
  std::vector<Stream*>& streams() { return streams_; }

  std::vector<std::shared_ptr<Work>> reduce(DType dtype, uint64_t count, uint64_t offset,
                                            bool in_place, ReduceOp op = ReduceOp::kSum,
                                            int64_t result_ms = 20'000,
                                            CollectiveKind kind = CollectiveKind::kAllReduce) {
    std::vector<CollectiveArgs> args(devices_.size());
    for (int r = 0; r < ranks(); ++r) {
      args[r].kind = kind;
      args[r].dtype = dtype;
      args[r].op = op;
      args[r].count = count;
      args[r].in = static_cast<char*>(in_[r]->ptr) + offset * dtype_bytes(dtype);
      args[r].out = in_place ? const_cast<void*>(args[r].in)
                             : static_cast<char*>(out_[r]->ptr) + offset * dtype_bytes(dtype);
      args[r].stream = streams_[r];
      args[r].result_ms = result_ms;
    }
    auto works = group_->submit_all(args);
    for (int r = 0; r < ranks(); ++r) {
      works[r]->wait_launched();
      works[r]->stream_wait(*streams_[r]);
    }
    return works;
  }

  void drain() {
    for (Stream* stream : streams_) {
      if (!stream->device().driver().synchronize_stream(stream->handle(), kWaitMs)) {
        fail(ErrorCode::kDevice, "%s was not done", stream->device().name().c_str());
      }
    }
  }

  template <typename T>
  void put(int rank, uint64_t offset, const std::vector<T>& values) {
    device(rank).driver().copy(static_cast<T*>(in_[rank]->ptr) + offset, device(rank).ordinal(),
                               values.data(), kHostMemory, values.size() * sizeof(T),
                               streams_[rank]->handle());
  }
  template <typename T>
  std::vector<T> get(int rank, uint64_t offset, uint64_t count, bool in_place) {
    std::vector<T> values(count);
    Block* from = in_place ? in_[rank] : out_[rank];
    device(rank).driver().copy(values.data(), kHostMemory, static_cast<T*>(from->ptr) + offset,
                               device(rank).ordinal(), count * sizeof(T),
                               streams_[rank]->handle());
    drain();
    return values;
  }

  template <typename T>
  static T rank_sum(const std::vector<std::vector<T>>& values, uint64_t i) {
    float total = static_cast<float>(values[0][i]);
    for (size_t r = 1; r < values.size(); ++r) total += static_cast<float>(values[r][i]);
    return T(total);
  }

  /// The rank whose slice it is begins, and each hop rounds.
  template <typename T>
  static T ring_sum(const std::vector<std::vector<T>>& values, uint64_t i) {
    const uint64_t n = values.size(), packs = (values[0].size() * sizeof(T) + 15) / 16;
    const uint64_t slice = i * sizeof(T) / 16 / (((packs + n - 1) / n + 7) / 8 * 8);
    T total = values[slice][i];
    for (uint64_t hop = 1; hop < n; ++hop) {
      const T& own = values[(slice + hop) % n][i];
      total = T(static_cast<float>(total) + static_cast<float>(own));
    }
    return total;
  }

  template <typename T>
  void check_sum(DType dtype, uint64_t count, uint64_t offset, bool in_place, const char* name,
                 const char* when = "") {
    std::vector<std::vector<T>> values(devices_.size());
    uint32_t state = static_cast<uint32_t>(count * 2654435761u + 1);
    for (int r = 0; r < ranks(); ++r) {
      for (uint64_t i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        values[r].push_back(T(static_cast<float>(static_cast<int32_t>(state)) * 1e-9f));
      }
      put(r, offset, values[r]);
    }
    drain();
    reduce(dtype, count, offset, in_place);
    drain();
    uint64_t wrong = 0;
    for (int q = 0; q < ranks(); ++q) {
      const std::vector<T> got = get<T>(q, offset, count, in_place);
      for (uint64_t i = 0; i < count; ++i) {
        const T want = std::string(name) == "ring" ? ring_sum(values, i) : rank_sum(values, i);
        if (std::memcmp(&want, &got[i], sizeof(T)) != 0) ++wrong;
      }
    }
    expect(wrong == 0, std::string(name) + when + " " + dtype_name(dtype) + " count " +
                           std::to_string(count) + ": " + std::to_string(wrong) + " wrong");
  }

  /// Reduce-scatter and all-gather, apart and called twice, as one call would.
  void check_split(DType dtype, uint64_t count, uint64_t offset, const char* name) {
    const uint64_t n = devices_.size();
    std::vector<std::vector<float>> values(n);
    for (uint64_t r = 0; r < n; ++r) {
      for (uint64_t i = 0; i < n * count; ++i) {
        values[r].push_back(static_cast<float>((i * 7 + r * 31) % 1009) * 0.37f);
      }
      put(static_cast<int>(r), offset, values[r]);
    }
    drain();
    for (const CollectiveKind kind : {CollectiveKind::kReduceScatter, CollectiveKind::kAllGather}) {
      const bool scatter = kind == CollectiveKind::kReduceScatter;
      for (int k = 0; k < 2; ++k) reduce(dtype, count, offset, false, ReduceOp::kSum, 20'000, kind);
      drain();
      uint64_t wrong = 0;
      for (uint64_t q = 0; q < n; ++q) {
        const auto got = get<float>(static_cast<int>(q), offset, scatter ? count : n * count, false);
        for (uint64_t i = 0; i < got.size(); ++i) {
          const float want = scatter ? rank_sum(values, q * count + i) : values[i / count][i % count];
          if (std::memcmp(&want, &got[i], sizeof want) != 0) ++wrong;
        }
      }
      expect(wrong == 0, std::string(name) + (scatter ? " reduce-scatter" : " all-gather") +
                             " count " + std::to_string(count) + ": " + std::to_string(wrong) +
                             " wrong");
    }
  }

  template <typename Run>
  double time(int calls, Run&& run) {
    run();
    drain();
    std::vector<double> samples;
    for (int round = 0; round < 7; ++round) {
      const auto start = Clock::now();
      for (int i = 0; i < calls; ++i) run();
      drain();
      const std::chrono::duration<double, std::micro> taken = Clock::now() - start;
      samples.push_back(taken.count() / calls);
    }
    std::sort(samples.begin(), samples.end());
    return samples[3];
  }

  /// `bytes` of the longer buffer; an all-reduce is in place.
  std::pair<double, double> times(uint64_t bytes, DType dtype,
                                  CollectiveKind kind = CollectiveKind::kAllReduce) {
    const bool whole = kind == CollectiveKind::kAllReduce;
    const uint64_t count = bytes / dtype_bytes(dtype) / (whole ? 1 : devices_.size());
    const int calls = bytes >= 64u << 20 ? 10 : 50;
    const auto run = [&] {
      reduce(dtype, count, 0, whole, ReduceOp::kSum, 20'000, kind);
    };
    const double called = time(calls, run);
    auto capture = Capture::begin(streams_);
    for (int i = 0; i < kInside; ++i) run();
    auto graph = capture->end();
    const double replayed = time(calls / kInside, [&] { graph->launch(streams_); }) / kInside;
    return {called, replayed};
  }

 private:
  const size_t largest_;
  std::vector<Device*> devices_;
  std::vector<Stream*> streams_;
  std::vector<Block*> in_, out_;
  std::shared_ptr<Group> group_;
};

void check_bits(Rig& rig, const char* name) {
  force_algorithm(name);
  const bool oneshot = std::string(name) == "oneshot";
  const uint64_t most = oneshot ? (rig.ranks() == 2 ? 4u << 20 : 200'000) : 5u << 20;
  for (uint64_t count : {1, 2, 7, 255, 4096, 16'385, 65'537, 200'000, 1'000'003, 5 << 20}) {
    if (count > most) break;
    for (bool in_place : {false, true}) {
      const bool aligned = std::string(name) == "ring";  // others take any offset
      rig.check_sum<float>(DType::kF32, count, aligned ? 4 : count % 3, in_place, name);
      rig.check_sum<F16>(DType::kF16, count, aligned ? 8 : count % 5, in_place, name);
      rig.check_sum<BF16>(DType::kBF16, count, 0, in_place, name);
    }
  }
}

void check_split(Rig& rig, const char* name) {
  force_algorithm(name);
  for (uint64_t count : {1, 3, 255, 4096, 16'385, 65'537, 200'000, 500'000}) {
    rig.check_split(DType::kF32, count, count % 3, name);
  }
}

void check_replays(Rig& rig, const char* name) {
  force_algorithm(name);
  constexpr uint64_t kCount = 10'000;
  for (int r = 0; r < rig.ranks(); ++r) rig.put(r, 0, std::vector<float>(kCount, 1.0f));
  rig.drain();
  auto capture = Capture::begin(rig.streams());
  for (int i = 0; i < 3; ++i) rig.reduce(DType::kF32, kCount, 0, true, ReduceOp::kAvg);
  auto graph = capture->end();
  for (int i = 0; i < 1000; ++i) {
    graph->launch(rig.streams());
    if (i % 100 == 0) rig.reduce(DType::kF32, kCount, 0, true, ReduceOp::kAvg);
  }
  rig.drain();
  const auto got = rig.get<float>(rig.ranks() - 1, 0, kCount, true);
  expect(std::all_of(got.begin(), got.end(), [](float x) { return x == 1.0f; }),
         std::string(name) + ": 1000 replays between called ones");
}

void check_faults(Rig& rig, const char* name) {
  force_algorithm(name);
  for (const bool abort : {false, true}) {
    auto gate = std::make_shared<Gate>();
    rig.device(1).driver().hold(rig.streams()[1]->handle(), gate);
    const auto begin = Clock::now();
    auto works = rig.reduce(DType::kF32, 1000, 0, true, ReduceOp::kSum, abort ? 20'000 : 200);
    std::string said = "no error";
    if (abort) rig.group().abort(Error(ErrorCode::kGroupAborted, "enough"));
    try {
      works[0]->synchronize(kWaitMs);
    } catch (const Error& error) {
      said = error.message();
    }
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    std::printf("%s held rank, %s: %.0f ms: %s\n", name, abort ? "abort" : "deadline", ms,
                said.c_str());
    expect(said != "no error" && ms < 1300, std::string(name) + ": held rank");
    gate->open();
    rig.drain();
    if (abort) rig.group().reset();
    rig.check_sum<float>(DType::kF32, 1000, 0, true, name, ", after a fault");
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 2, argv + std::max(argc, 2));
  if (names.empty()) names = {"cuda:0", "cuda:1"};
  try {
    const PluginInfo info = load_plugin(argc > 1 ? argv[1] : "ringallreduce.so");
    std::printf("plugin %s %s, ABI %u.%u\n", info.name.c_str(), info.version.c_str(),
                info.abi_major, info.abi_minor);
    const bool split = names[0].find('/') != std::string::npos;
    Rig rig(names, (split ? size_t{32} : size_t{256}) << 20);
    for (const char* name : {"oneshot", "twoshot", "ring"}) {
      check_bits(rig, name);
      check_split(rig, name);
      check_replays(rig, name);
      check_faults(rig, name);
    }
    std::printf("%d failed\n", g_failed);
    std::printf("  KiB: chosen, called/in a graph us; oneshot, twoshot, ring, copies in a graph\n");
    for (uint64_t kib : {1, 8, 64, 256, 1024, 4096, 16384, 65536, 262144}) {
      if (split || kib << 10 > size_t{256} << 20) break;
      force_algorithm("");
      const auto [called, replayed] = rig.times(kib << 10, DType::kF32);
      std::printf("%9llu: %.2f/%.2f;", static_cast<unsigned long long>(kib), called, replayed);
      for (const char* name : {"oneshot", "twoshot", "ring", "copy-ring"}) {
        force_algorithm(name);
        std::printf(" %.2f", rig.times(kib << 10, DType::kF32).second);
      }
      std::printf("\n");
    }
    for (const CollectiveKind kind : {CollectiveKind::kReduceScatter, CollectiveKind::kAllGather}) {
      std::printf("  KiB of the longer buffer, %s: chosen, called/in a graph us; oneshot, twoshot, "
                  "copies in a graph\n",
                  kind == CollectiveKind::kAllGather ? "all-gather" : "reduce-scatter");
      for (uint64_t kib : {1, 8, 64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 262144}) {
        if (split) break;
        force_algorithm("");
        const auto [called, replayed] = rig.times(kib << 10, DType::kF32, kind);
        std::printf("%9llu: %.2f/%.2f;", static_cast<unsigned long long>(kib), called, replayed);
        for (const char* name : {"oneshot", "twoshot", "copy-ring"}) {
          force_algorithm(name);
          std::printf(" %.2f", rig.times(kib << 10, DType::kF32, kind).second);
        }
        std::printf("\n");
      }
    }
  } catch (const fabric::Error& error) {
    std::fprintf(stderr, "plugin_check: %s\n", error.what());
    return 1;
  }
  return g_failed == 0 ? 0 : 1;
}
