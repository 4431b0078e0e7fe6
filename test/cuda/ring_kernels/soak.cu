// Long mixes without a wait between: collectives of every kernel and kind, matrix products beside them on
// the same streams, and replays of graphs; and calls that another kernel keeps from the SMs. Called by main.cc.
//
// All ranks hold the same whole numbers, so an average changes nothing, and a reduce-scatter followed by
// the all-gather of its slices neither. Each call works at an offset of its own: a packet of another call
// stands for another place and is seen as a wrong number.
#include "reference.h"
#include "values.cuh"

namespace rig {
namespace {

constexpr uint64_t kMost = 48 * 1024;  // elements of a call
constexpr uint64_t kRoom = kMost + 64;
constexpr int kSide = 128;

/// A plain product of kSide by kSide; it writes behind the checked numbers.
__global__ void product(const float* a, float* c) {
  const int row = blockIdx.x * blockDim.y + threadIdx.y, column = threadIdx.x;
  float sum = 0;
  for (int k = 0; k < kSide; ++k) sum += a[row * kSide + k] * a[k * kSide + column];
  c[row * kSide + column] = sum;
}

/// Holds an SM for `ns`; with its shared memory no other CTA of size fits beside it.
__global__ void __launch_bounds__(1024) spin(uint64_t ns) {
  uint64_t start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < ns);
}

float* numbers(Rig& rig, size_t i) { return reinterpret_cast<float*>(rig[i].in); }

void fill_all(Rig& rig) {
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    fill_whole<float><<<64, 256, 0, rig[i].stream>>>(numbers(rig, i), kRoom, 0);
    RIG_CHECK(cudaGetLastError());
  }
  rig.finish("filling");
}

unsigned long long wrong_of(Rig& rig, const Counter& wrong) {
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    count_wrong<float><<<64, 256, 0, rig[i].stream>>>(numbers(rig, i), kRoom, 0, 0, 0, wrong.get());
    RIG_CHECK(cudaGetLastError());
    rig.finish("checking", 60);
  }
  return wrong.take();
}

struct Mix {
  Kernel kernel;
  Kind kind;
  uint64_t count, offset;
  Shape shape;
};

Mix random_mix(Rig& rig, Random& random) {
  static const char* const without = getenv("WITHOUT");  // a kernel's name, for tools that do not follow it
  Mix mix{};
  do {
    mix.kernel = kKernels[random.below(kKernelCount)];
  } while (without != nullptr && strcmp(without, name(mix.kernel)) == 0);
  mix.kind = exists(mix.kernel, Kind::kReduceScatter) && random.below(3) == 0 ? Kind::kReduceScatter
                                                                               : Kind::kAllReduce;
  const uint64_t limit = random.below(8) == 0 ? kMost : random.below(2) == 0 ? 4096 : 256;
  mix.count = 1 + random.below(limit);
  if (mix.kind == Kind::kReduceScatter) mix.count = std::max<uint64_t>(1, mix.count / rig.size());
  mix.offset = mix.kernel == Kernel::kRing ? 4 * random.below(16) : random.below(64);
  mix.shape.ctas = 1 + static_cast<uint32_t>(random.below(4));
  mix.shape.threads = 256;
  mix.shape.chunk_bytes = 1024u << random.below(4);
  mix.shape.window = 1 + static_cast<uint32_t>(random.below(4));
  return mix;
}

/// One collective, or the pair that puts everything back; in place.
int start_mix(Rig& rig, size_t i, const Mix& mix) {
  const auto call = [&](Kind kind) {
    Args a = rig.args(i, mix.kernel, Type::kF32, Op::kAvg, mix.count, mix.shape, kind);
    for (size_t r = 0; r < rig.size(); ++r) {
      float* at = numbers(rig, r) + mix.offset;
      a.outputs[r] = kind == Kind::kReduceScatter ? at + r * mix.count : at;
      if (r == i) a.input = kind == Kind::kAllGather ? at + r * mix.count : at;
    }
    if (const char* why = Rig::explain(mix.kernel, a)) printf("    refused: %s\n", why);
    RIG_CHECK(Rig::start(mix.kernel, a, rig[i].stream));
  };
  rig.use(i);
  call(mix.kind);
  if (mix.kind != Kind::kReduceScatter) return 1;
  call(Kind::kAllGather);
  return 2;
}

void start_product(Rig& rig, size_t i) {
  float* behind = numbers(rig, i) + kRoom;
  product<<<kSide / 8, dim3(kSide, 8), 0, rig[i].stream>>>(numbers(rig, i), behind);
  RIG_CHECK(cudaGetLastError());
}

std::vector<cudaGraphExec_t> capture(Rig& rig, const std::vector<Mix>& list) {
  std::vector<cudaGraphExec_t> graphs(rig.size());
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    RIG_CHECK(cudaStreamBeginCapture(rig[i].stream, cudaStreamCaptureModeThreadLocal));
    for (const Mix& mix : list) start_mix(rig, i, mix);
    start_product(rig, i);
    cudaGraph_t graph;
    RIG_CHECK(cudaStreamEndCapture(rig[i].stream, &graph));
    RIG_CHECK(cudaGraphInstantiate(&graphs[i], graph, 0));
    RIG_CHECK(cudaGraphDestroy(graph));
  }
  return graphs;
}

}  // namespace

void run_soak(Rig& rig, Tally& tally, uint64_t seed, uint64_t operations) {
  if (2 * kRoom * 4 > rig.bytes() || (rig.size() & (rig.size() - 1)) != 0) {
    tally.note(false, "soak: needs a power of two of ranks and larger buffers");
    return;
  }
  Random random(seed + 200);
  const Counter wrong;
  rig.reset(0xffffff00u, 0xffffff00ull);
  fill_all(rig);
  for (Kernel kernel : kKernels) {  // loads the kernels
    for (Kind kind : kKinds) {
      if (!exists(kernel, kind)) continue;
      rig.most_ctas(kernel, rig.args(0, kernel, Type::kF32, Op::kAvg, 64, {}, kind));
    }
  }
  std::vector<Mix> list;
  for (int k = 0; k < 8; ++k) list.push_back(random_mix(rig, random));
  const auto graphs = capture(rig, list);
  uint64_t done = 0, products = 0, replays = 0, rounds = 0;
  bool good = true;
  while (done < operations && good) {
    for (int k = 0; k < 2000; ++k) {
      const uint64_t what = random.below(16);
      const Mix mix = random_mix(rig, random);
      for (size_t i = 0; i < rig.size(); ++i) {
        rig.use(i);
        if (what == 0) {
          RIG_CHECK(cudaGraphLaunch(graphs[i], rig[i].stream));
        } else if (what == 1) {
          start_product(rig, i);
        } else {
          const int calls = start_mix(rig, i, mix);
          if (i == 0) done += calls;
        }
      }
      if (what == 0) ++replays, done += list.size();
      if (what == 1) ++products, ++done;
    }
    rig.finish("soak", 60);
    const unsigned long long bad = wrong_of(rig, wrong);
    good = rig.clean() && bad == 0;
    if (!good) {
      printf("    after %llu operations %llu elements are wrong\n", static_cast<unsigned long long>(done), bad);
      rig.print_control();
    }
    ++rounds;
  }
  tally.note(good, "soak of " + std::to_string(done) + " operations");
  printf("soak ranks %zu: %llu operations, of them %llu products, %llu replays of %zu calls, %llu checks: %s\n",
         rig.size(), static_cast<unsigned long long>(done), static_cast<unsigned long long>(products),
         static_cast<unsigned long long>(replays), list.size(), static_cast<unsigned long long>(rounds),
         good ? "good" : "FAILED");
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    RIG_CHECK(cudaGraphExecDestroy(graphs[i]));
  }
}

void run_held(Rig& rig, Tally& tally) {
  const uint64_t usual = rig.limit_ns;
  const Counter wrong;
  cudaStream_t beside;
  rig.use(0);
  int sms = 0;
  RIG_CHECK(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, rig[0].device));
  RIG_CHECK(cudaStreamCreateWithFlags(&beside, cudaStreamNonBlocking));
  constexpr int kShared = 200 << 10;
  RIG_CHECK(cudaFuncSetAttribute(spin, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  for (Kernel kernel : kKernels) {
    for (Kind kind : kKinds) {
      if (!exists(kernel, kind) || kind == Kind::kAllGather) continue;
      for (const bool long_hold : {false, true}) {
        for (const int held : {sms, sms - 2}) {
          rig.limit_ns = long_hold ? 20'000'000 : 2'000'000'000;
          rig.reset();
          fill_all(rig);
          Mix mix{kernel, kind, 16'384 / (kind == Kind::kAllReduce ? 1 : rig.size()), 0, {}};
          mix.shape.ctas = 8;
          mix.shape.chunk_bytes = 4096;
          mix.shape.window = 2;
          const uint32_t most =
              rig.most_ctas(kernel, rig.args(0, kernel, Type::kF32, Op::kAvg, mix.count, mix.shape, kind));
          mix.shape.ctas = std::min(mix.shape.ctas, most);
          rig.use(0);
          spin<<<held, 1024, kShared, beside>>>(60'000'000);
          RIG_CHECK(cudaGetLastError());
          const auto begin = std::chrono::steady_clock::now();
          for (size_t i = 0; i < rig.size(); ++i) start_mix(rig, i, mix);
          rig.finish("held", 5);
          const double took =
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
          RIG_CHECK(cudaStreamSynchronize(beside));
          // Short of the deadline the call must be right; else it ends, and the next one is right.
          bool good = took < 1.1 && (long_hold || (rig.clean() && wrong_of(rig, wrong) == 0));
          if (!good) rig.print_control();
          const bool left = !rig.clean();
          rig.limit_ns = usual;
          rig.reset();
          fill_all(rig);
          for (size_t i = 0; i < rig.size(); ++i) start_mix(rig, i, mix);
          rig.finish("call after a hold");
          good = good && rig.clean() && wrong_of(rig, wrong) == 0;
          tally.note(good, std::string("held ") + name(kernel) + " " + name(kind) + ", " +
                               std::to_string(held) + " SMs, " + (long_hold ? "past" : "within") +
                               " the deadline" + (left ? ", left" : "") + ", " + std::to_string(took) + " s");
        }
      }
    }
  }
  printf("held ranks %zu done\n", rig.size());
  RIG_CHECK(cudaStreamDestroy(beside));
}

}  // namespace rig
