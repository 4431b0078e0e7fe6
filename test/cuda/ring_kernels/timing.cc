// Times of every kernel by size and shape, captured in a graph a rank. Called by main.cc.
#include <algorithm>

#include "rig.h"

namespace rig {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What the link and the copy engines give, printed before everything else.
void print_limits(Rig& rig) {
  for (size_t i = 0; i < rig.size(); ++i) {
    cudaDeviceProp p;
    RIG_CHECK(cudaGetDeviceProperties(&p, rig[i].device));
    printf("rank %zu: device %d %s, %d SMs\n", i, rig[i].device, p.name, p.multiProcessorCount);
  }
  if (rig[0].device == rig[1].device) {
    printf("ranks share a GPU: times say nothing about a link\n");
    return;
  }
  const size_t bytes = std::min<size_t>(rig.bytes(), 256u << 20);
  double best = 1e9;
  for (int k = 0; k < 4; ++k) {
    const double begin = now();
    for (int round = 0; round < 4; ++round) {
      for (size_t i = 0; i < 2; ++i) {
        rig.use(i);
        RIG_CHECK(cudaMemcpyAsync(rig[1 - i].out, rig[i].in, bytes, cudaMemcpyDeviceToDevice,
                                  rig[i].stream));
      }
    }
    rig.finish("copies");
    best = std::min(best, (now() - begin) / 4);
  }
  printf("limit: copy engines, both ways at once, %zu MiB: %.1f GB/s a direction\n", bytes >> 20,
         bytes / best / 1e9);
}

struct Time {
  double least = 0, median = 0;  // microseconds; 0: a kernel left early
};

Time measure(Rig& rig, Kernel kernel, Kind kind, Type type, uint64_t count, const Shape& shape) {
  const size_t bytes = count * element(type);
  const int calls = bytes > (16u << 20) ? 4 : bytes > (1u << 20) ? 10 : 40;
  std::vector<cudaGraphExec_t> graphs(rig.size());
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    RIG_CHECK(cudaStreamBeginCapture(rig[i].stream, cudaStreamCaptureModeThreadLocal));
    for (int k = 0; k < calls; ++k) {
      const Args a = rig.args(i, kernel, type, Op::kSum, count, shape, kind);
      RIG_CHECK(Rig::start(kernel, a, rig[i].stream));
    }
    cudaGraph_t graph;
    RIG_CHECK(cudaStreamEndCapture(rig[i].stream, &graph));
    RIG_CHECK(cudaGraphInstantiate(&graphs[i], graph, 0));
    RIG_CHECK(cudaGraphDestroy(graph));
  }
  std::vector<double> times;
  const int samples = bytes > (64u << 20) ? 5 : 9;
  for (int k = -1; k < samples; ++k) {
    const double begin = now();
    const int rounds = bytes > (1u << 20) ? 1 : 3;
    for (int round = 0; round < rounds; ++round) {
      for (size_t i = 0; i < rig.size(); ++i) {
        rig.use(i);
        RIG_CHECK(cudaGraphLaunch(graphs[i], rig[i].stream));
      }
    }
    rig.finish("timing");
    if (k >= 0) times.push_back((now() - begin) / rounds / calls * 1e6);
  }
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    RIG_CHECK(cudaGraphExecDestroy(graphs[i]));
  }
  if (!rig.clean()) {
    rig.print_control();
    rig.reset();
    return {};
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2]};
}

/// `bytes`: of an all-reduce's payload.
std::vector<Shape> shapes(Kernel kernel, size_t bytes, size_t ranks) {
  std::vector<Shape> all;
  if (kernel == Kernel::kTwoshotChunks) {
    for (uint32_t ctas : {8u, 16u, 32u, 64u, 96u, 132u}) {
      for (uint32_t chunk : {8192u, 16384u, 32768u, 65536u}) {
        if (uint64_t{ctas} * chunk > 2 * bytes / ranks) continue;
        for (uint32_t window : {2u, 4u, 8u}) all.push_back({ctas, 1024, chunk, window});
      }
    }
    return all;
  }
  if (kernel == Kernel::kRing) {
    if (bytes < 1u << 20) return all;
    for (uint32_t ctas : {8u, 16u, 24u, 32u, 64u, 128u}) {
      for (uint32_t tile : {8192u, 16384u}) {
        if (uint64_t{ctas} * tile > bytes / ranks) continue;
        for (uint32_t lag : {4u, 8u, 16u}) {
          Shape shape{ctas, kRingThreads, tile, 4};
          shape.stages = tile == 8192 ? 16 : 8;
          shape.lag = lag;
          all.push_back(shape);
        }
      }
    }
    return all;
  }
  const bool words = kernel == Kernel::kOneshotWords;
  for (uint32_t threads : {128u, 256u, 512u, 1024u}) {
    if (threads == 1024 && (kernel != Kernel::kOneshotLines || ranks != 2)) continue;
    for (uint32_t ctas : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u}) {
      const size_t parts =
          words ? bytes / 8
                : bytes / kStepBytes / (kernel == Kernel::kTwoshotLines ? ranks : 1) + 1;
      const size_t workers = ctas * (words ? threads : threads / 32);
      if ((ctas > 1 && workers / 2 >= parts) || workers * 48 < parts) continue;
      all.push_back({ctas, threads, 65536, 4});
    }
  }
  return all;
}

/// All shapes of a kernel for one payload: `bytes` of an all-reduce, of all slices else.
void time_one(Rig& rig, Tally& tally, Kernel kernel, Kind kind, size_t bytes, double end) {
  const size_t n = rig.size();
  const uint64_t count = bytes / 4 / (kind == Kind::kAllReduce ? 1 : n);
  Time best;
  Shape chosen;
  int tried = 0;
  for (const Shape& shape : shapes(kernel, bytes, n)) {
    const Args a = rig.args(0, kernel, Type::kF32, Op::kSum, count, shape, kind);
    if (Rig::explain(kernel, a) != nullptr || shape.ctas > rig.most_ctas(kernel, a)) continue;
    if (now() > end) break;
    const Time t = measure(rig, kernel, kind, Type::kF32, count, shape);
    ++tried;
    printf("  %s %s %zu B ctas %u threads %u chunk %u window %u lag %u: min %.2f median %.2f us\n",
           name(kind), name(kernel), bytes, shape.ctas, shape.threads, shape.chunk_bytes,
           shape.window, shape.lag, t.least, t.median);
    if (t.median == 0) {
      tally.note(false, "a kernel left early while timed");
      continue;
    }
    if (best.median == 0 || t.median < best.median) best = t, chosen = shape;
  }
  if (tried == 0) return;
  const double moved = static_cast<double>(bytes) * (kind == Kind::kAllReduce ? 2 : 1) * (n - 1) / n;
  printf("BEST ranks %zu %-14s %-15s %10zu B  min %9.2f  median %9.2f us  bus %6.1f GB/s  (ctas %u"
         " threads %u chunk %u window %u lag %u; %d shapes)\n",
         n, name(kind), name(kernel), bytes, best.least, best.median,
         best.median > 0 ? moved / best.median / 1e3 : 0, chosen.ctas, chosen.threads,
         chosen.chunk_bytes, chosen.window, chosen.lag, tried);
  fflush(stdout);
}

}  // namespace

void run_timing(Rig& rig, Tally& tally, double seconds) {
  print_limits(rig);
  rig.reset();
  const double begin = now();
  const char* only = getenv("ONLY");  // one kernel's or one kind's name
  for (size_t bytes = 1024; bytes <= rig.bytes(); bytes *= bytes < 65536         ? 8
                                                           : bytes >= 256u << 20 ? 2
                                                                                 : 4) {
    for (Kind kind : kKinds) {
      for (Kernel kernel : kKernels) {
        if (!exists(kernel, kind)) continue;
        if (only != nullptr && strcmp(only, name(kernel)) != 0 && strcmp(only, name(kind)) != 0) {
          continue;
        }
        time_one(rig, tally, kernel, kind, bytes, begin + seconds);
      }
    }
  }
  printf("timing took %.0f s of %.0f\n", now() - begin, seconds);
}

}  // namespace rig
