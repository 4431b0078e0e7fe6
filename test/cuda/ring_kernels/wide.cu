// Counts from 0 to the buffers' size, drawn by their logarithm, with any bits in the inputs: made, reduced again and
// compared on the device. Each case is called, called twice without a wait with other numbers of CTAs, and replayed.
// Called by main.cc. The reference is written anew here, and shares nothing with the kernels.
#include "reference.h"
#include "values.cuh"

namespace rig {
namespace {

__device__ uint64_t mixed(uint64_t place, uint64_t seed) {
  uint64_t mix = (place + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1b54a32d192ed03ull;
  mix ^= mix >> 31;
  mix *= 0xbf58476d1ce4e5b9ull;
  return mix ^ mix >> 29;
}

/// As fill() of reference.h: NaN, infinities, zeros of both signs, subnormals, any bits, values near 1.
template <typename T>
__global__ void fill_bits(T* to, uint64_t count, uint64_t seed) {
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const uint64_t bits = mixed(i, seed), raw = bits >> 16;
    const float special[] = {0.0f,     -0.0f,     INFINITY, -INFINITY,
                             NAN,      1e-40f,    -3e-42f,  65504.0f};
    if ((bits & 7) == 0) {
      to[i] = T(special[bits >> 3 & 7]);
    } else if ((bits & 7) < 4) {
      memcpy(&to[i], &raw, sizeof(T));
    } else {
      to[i] = T(static_cast<float>(static_cast<int64_t>(bits >> 40) - (1 << 23)) / (1 << 22));
    }
  }
}

template <typename T>
struct Inputs {
  const T* of[kMostRanks];
};

__device__ float together(Op op, float a, float b) {
  if (op == Op::kMax) return a != a || a > b ? a : b;
  if (op == Op::kMin) return a != a || a < b ? a : b;
  return op == Op::kProd ? __fmul_rn(a, b) : __fadd_rn(a, b);
}

/// In rank order, f32 to the end; or from rank `slice` on, each hop rounded.
template <typename T>
__device__ T wanted(const Inputs<T>& in, uint64_t i, uint32_t ranks, Op op, bool ring, uint64_t slice) {
  const float scale = op == Op::kAvg ? __fdiv_rn(1.0f, static_cast<float>(ranks)) : 1.0f;
  const uint32_t first = ring ? static_cast<uint32_t>(slice) : 0;
  float sum = static_cast<float>(in.of[first][i]);
  for (uint32_t k = 1; k < ranks; ++k) {
    sum = together(op, sum, static_cast<float>(in.of[(first + k) % ranks][i]));
    if (ring && k + 1 < ranks) sum = static_cast<float>(T(sum));
  }
  return T(__fmul_rn(sum, scale));
}

template <typename T>
__device__ uint32_t bits_of(T value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  return bits;
}

/// One input: its bits. More: what the kernels must give, or NaN for NaN.
template <typename T>
__global__ void compare(const T* got, Inputs<T> in, uint64_t count, uint32_t ranks, Op op, bool ring,
                        unsigned long long* wrong) {
  const uint64_t packs = (count * sizeof(T) + 15) / 16;
  const uint64_t slice_packs = ((packs + ranks - 1) / ranks + 7) / 8 * 8;
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const T have = got[i];
    const T want = ranks == 1 ? in.of[0][i]
                              : wanted(in, i, ranks, op, ring, i * sizeof(T) / 16 / slice_packs);
    if (bits_of(have) == bits_of(want)) continue;
    const float a = static_cast<float>(have), b = static_cast<float>(want);
    if (ranks == 1 || a == a || b == b) atomicAdd(wrong, 1ull);
  }
}

struct Case {
  Kernel kernel;
  Kind kind;
  Type type;
  Op op;
  uint64_t count;
  Shape shape;
  size_t in_offset, out_offset;
};

template <typename T>
class Run {
 public:
  Run(Rig& rig, const Case& c, const Counter& wrong)
      : rig_(rig), c_(c), wrong_(wrong), n_(static_cast<uint32_t>(rig.size())) {}

  bool good(uint64_t seed) {
    const uint64_t have = c_.count * (c_.kind == Kind::kReduceScatter ? n_ : 1);
    for (uint32_t r = 0; r < n_; ++r) {
      rig_.use(r);
      fill_bits<T><<<512, 256, 0, rig_[r].stream>>>(input(r), have, seed * n_ + r);
      RIG_CHECK(cudaGetLastError());
    }
    rig_.finish("filling");
    bool all = call(c_.shape.ctas) && right("called");
    all = all && call(c_.shape.ctas) && call(std::max(1u, c_.shape.ctas / 2)) && right("called twice");
    return all && replay() && right("replayed");
  }

 private:
  T* input(uint32_t r) { return reinterpret_cast<T*>(rig_[r].in + c_.in_offset); }
  T* output(uint32_t r) { return reinterpret_cast<T*>(rig_[r].out + c_.out_offset); }

  bool start(uint32_t r, uint32_t ctas) {
    Shape shape = c_.shape;
    shape.ctas = ctas;
    Args a = rig_.args(r, c_.kernel, c_.type, c_.op, c_.count, shape, c_.kind);
    a.input = input(r);
    for (uint32_t q = 0; q < n_; ++q) a.outputs[q] = output(q);
    if (const char* why = Rig::explain(c_.kernel, a)) {
      printf("    refused: %s\n", why);
      return false;
    }
    rig_.use(r);
    RIG_CHECK(Rig::start(c_.kernel, a, rig_[r].stream));
    return true;
  }

  bool call(uint32_t ctas) {
    bool all = true;
    for (uint32_t r = 0; r < n_; ++r) all = start(r, ctas) && all;
    return all;
  }

  bool replay() {
    std::vector<cudaGraphExec_t> graphs(n_);
    for (uint32_t r = 0; r < n_; ++r) {
      rig_.use(r);
      cudaGraph_t graph;
      RIG_CHECK(cudaStreamBeginCapture(rig_[r].stream, cudaStreamCaptureModeThreadLocal));
      start(r, c_.shape.ctas);
      start(r, c_.shape.ctas);
      RIG_CHECK(cudaStreamEndCapture(rig_[r].stream, &graph));
      RIG_CHECK(cudaGraphInstantiate(&graphs[r], graph, 0));
      RIG_CHECK(cudaGraphDestroy(graph));
      // An upload waits for memory, so it must not come between the launches.
      RIG_CHECK(cudaGraphUpload(graphs[r], rig_[r].stream));
    }
    rig_.finish("upload");
    for (int k = 0; k < 2; ++k) {
      for (uint32_t r = 0; r < n_; ++r) {
        rig_.use(r);
        RIG_CHECK(cudaGraphLaunch(graphs[r], rig_[r].stream));
      }
    }
    rig_.finish("replays");
    for (uint32_t r = 0; r < n_; ++r) {
      rig_.use(r);
      RIG_CHECK(cudaGraphExecDestroy(graphs[r]));
    }
    return true;
  }

  /// Looks at all outputs, and spoils them for the next.
  bool right(const char* when) {
    rig_.finish(when);
    const bool gather = c_.kind == Kind::kAllGather;
    for (uint32_t r = 0; r < n_; ++r) {
      rig_.use(r);
      for (uint32_t part = 0; part < (gather ? n_ : 1); ++part) {
        Inputs<T> in{};
        for (uint32_t q = 0; q < n_; ++q) {
          in.of[q] = gather ? input(part) : input(q) + (c_.kind == Kind::kReduceScatter ? r * c_.count : 0);
        }
        compare<T><<<512, 256, 0, rig_[r].stream>>>(output(r) + part * c_.count, in, c_.count, gather ? 1 : n_,
                                                    c_.op, c_.kernel == Kernel::kRing, wrong_.get());
        RIG_CHECK(cudaGetLastError());
      }
    }
    rig_.finish("comparing");
    for (uint32_t r = 0; r < n_; ++r) {
      rig_.use(r);
      RIG_CHECK(cudaMemsetAsync(output(r), 0xa5, c_.count * sizeof(T) * (gather ? n_ : 1), rig_[r].stream));
    }
    rig_.finish("spoiling");
    const unsigned long long bad = wrong_.take();
    if (bad != 0) printf("    %s: %llu elements are wrong\n", when, bad);
    rig_.print_control();
    return rig_.clean() && bad == 0;
  }

  Rig& rig_;
  const Case& c_;
  const Counter& wrong_;
  const uint32_t n_;
};

Case random_case(Rig& rig, Random& random, uint64_t elements) {
  Case c{};
  do {
    c.kernel = kKernels[random.below(kKernelCount)];
    c.kind = kKinds[random.below(3)];
  } while (!exists(c.kernel, c.kind));
  c.type = static_cast<Type>(random.below(3));
  const bool sums = c.kind != Kind::kAllReduce || random.below(4) != 0;
  c.op = static_cast<Op>(sums ? random.below(2) : 2 + random.below(3));
  const uint64_t limit = uint64_t{1} << random.below(33);
  c.count = random.below(std::min(limit, elements) + 1);
  if (random.below(6) == 0) c.count = elements - random.below(3);
  if (c.kind != Kind::kAllReduce) c.count /= rig.size();
  const uint64_t room = c.kernel == Kernel::kOneshotWords    ? rig.capacity().words_bytes
                        : c.kernel == Kernel::kOneshotLines  ? rig.capacity().lines_bytes
                        : c.kernel == Kernel::kTwoshotLines  ? rig.capacity().lines_bytes - kStepBytes
                                                             : ~uint64_t{0};
  if (c.count > room / element(c.type)) c.count = random.below(room / element(c.type) + 1);
  const bool odd = c.kernel != Kernel::kRing && random.below(2) == 0;
  c.in_offset = odd ? element(c.type) * random.below(8) : 16 * random.below(3);
  c.out_offset = odd ? element(c.type) * random.below(8) : 16 * random.below(3);
  c.shape = {1, 128u << random.below(3), 4096u << random.below(5), 1 + static_cast<uint32_t>(random.below(4)),
             8, 1 + static_cast<uint32_t>(random.below(4))};
  const Args a = rig.args(0, c.kernel, c.type, c.op, c.count, c.shape, c.kind);
  const uint32_t fits = std::min(rig.most_ctas(c.kernel, a),
                                 c.kernel == Kernel::kRing ? rig.capacity().ring_ctas : 132u);
  c.shape.ctas = 1 + static_cast<uint32_t>(random.below(fits));
  if (c.count > 1 << 24) c.shape.ctas = std::max(c.shape.ctas, std::min(fits, 16u));
  return c;
}

}  // namespace

void run_wide(Rig& rig, Tally& tally, uint64_t seed, double seconds, uint64_t elements) {
  Random random(seed + 300);
  const Counter wrong;
  const uint64_t usual = rig.limit_ns;
  rig.limit_ns = std::max<uint64_t>(usual, 10'000'000'000);
  rig.reset(0xfffffff0u, 0xffffff00ull);  // the wrap comes early
  const auto begin = std::chrono::steady_clock::now();
  uint64_t cases = 0, most = 0, large = 0;
  int bad = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < seconds && bad < 12) {
    const Case c = random_case(rig, random, elements);
    const bool good = c.type == Type::kF32   ? Run<float>(rig, c, wrong).good(++cases)
                      : c.type == Type::kF16 ? Run<__half>(rig, c, wrong).good(++cases)
                                             : Run<__nv_bfloat16>(rig, c, wrong).good(++cases);
    most = std::max(most, c.count * (c.kind == Kind::kAllReduce ? 1 : rig.size()));
    large += c.count > 1 << 24;
    tally.note(good, std::string("wide ") + name(c.kernel) + " " + name(c.kind) + " " + name(c.type) + " " +
                         name(c.op) + " count " + std::to_string(c.count) + " ctas " +
                         std::to_string(c.shape.ctas) + " offsets " + std::to_string(c.in_offset) + " " +
                         std::to_string(c.out_offset));
    if (good) continue;
    ++bad;
    rig.reset();
  }
  rig.limit_ns = usual;
  printf("wide ranks %zu: %llu cases, %llu above 2^24, the largest of %llu elements, %d failed (seed %llu)\n",
         rig.size(), static_cast<unsigned long long>(cases), static_cast<unsigned long long>(large),
         static_cast<unsigned long long>(most), bad, static_cast<unsigned long long>(seed));
}

}  // namespace rig
