// Results bit for bit against the host, over kernels, types, ops, counts, alignments, shapes, chains of
// calls without a wait between, and in place. Called by main.cc.
#include <cmath>

#include "reference.h"

namespace rig {
namespace {

struct Case {
  Kernel kernel;
  Type type;
  Op op;
  uint64_t count;
  Shape shape;
  int chain = 1;
  bool in_place = false, any_bits = true, delays = false;
  size_t in_offset[kMostRanks] = {}, out_offset[kMostRanks] = {};

  std::string text(const Rig& rig) const {
    char line[256];
    snprintf(
        line, sizeof line,
        "%s ranks %zu %s %s count %llu ctas %u threads %u chunk %u window %u stages %u lag %u "
        "chain %d%s offsets %zu/%zu %zu/%zu",
        name(kernel), rig.size(), name(type), name(op), static_cast<unsigned long long>(count),
        shape.ctas, shape.threads, shape.chunk_bytes, shape.window, shape.stages, shape.lag, chain,
        in_place ? " in place" : "", in_offset[0], out_offset[0], in_offset[1], out_offset[1]);
    return line;
  }
};

uint64_t most_count(const Rig& rig, Kernel kernel, Type type) {
  const Capacity& c = rig.capacity();
  const size_t size = element(type);
  switch (kernel) {
    case Kernel::kOneshotWords:
      return c.words_bytes / size;
    case Kernel::kOneshotLines:
      return c.lines_bytes / size;
    case Kernel::kTwoshotLines:  // slices are whole steps
      return (c.lines_bytes - kStepBytes) / size;
    default:
      return (rig.bytes() - 64) / size;
  }
}

/// Runs the case; true when every rank has the reference's bits and nothing else was written.
bool run(Rig& rig, const Case& c, Random& random) {
  const size_t n = rig.size(), size = element(c.type), bytes = c.count * size;
  std::vector<std::vector<char>> inputs(n, std::vector<char>(bytes));
  const std::vector<char> before(bytes + 128, static_cast<char>(0xa5));
  for (size_t i = 0; i < n; ++i) {
    fill(random, c.type, c.any_bits, inputs[i]);
    rig.use(i);
    RIG_CHECK(cudaMemcpy(rig[i].out, before.data(), before.size(), cudaMemcpyHostToDevice));
    RIG_CHECK(cudaMemcpy(rig[i].in, before.data(), before.size(), cudaMemcpyHostToDevice));
    if (bytes != 0) {
      RIG_CHECK(
          cudaMemcpy(rig[i].in + c.in_offset[i], inputs[i].data(), bytes, cudaMemcpyHostToDevice));
    }
    RIG_CHECK(cudaDeviceSynchronize());
  }
  // The chain goes to and fro between the buffers.
  const auto at = [&](size_t i, int call) {
    return c.in_place || call % 2 == 0 ? rig[i].in + c.in_offset[i] : rig[i].out + c.out_offset[i];
  };
  const size_t turn = random.below(n);
  for (int k = 0; k < c.chain; ++k) {
    for (size_t step = 0; step < n; ++step) {
      const size_t i = (step + turn) % n;
      Args a = rig.args(i, c.kernel, c.type, c.op, c.count, c.shape);
      a.input = at(i, k);
      for (size_t r = 0; r < n; ++r) a.outputs[r] = at(r, k + 1);
      if (const char* why = Rig::explain(c.kernel, a)) {
        printf("    refused: %s\n", why);
        return false;
      }
      rig.use(i);
      RIG_CHECK(Rig::start(c.kernel, a, rig[i].stream));
      if (c.delays) {
        const auto until =
            std::chrono::steady_clock::now() + std::chrono::microseconds(random.below(60));
        while (std::chrono::steady_clock::now() < until) {
        }
      }
    }
  }
  rig.finish("fuzz");
  if (!rig.clean()) {
    printf("    a kernel left early\n");
    rig.print_control();
    return false;
  }
  std::vector<char> wanted(bytes);
  for (int k = 0; k < c.chain; ++k) {
    const auto reference = c.kernel == Kernel::kRing ? &reduced_by_ring : &reduced;
    for (size_t i = 0; i < c.count; ++i) {
      reference(c.type, c.op, inputs, i, wanted.data() + i * size);
    }
    for (size_t r = 0; r < n; ++r) inputs[r] = wanted;
  }
  std::vector<char> got(bytes + 128), first;
  bool good = true;
  for (size_t i = 0; i < n; ++i) {
    rig.use(i);
    char* result = at(i, c.chain);
    const bool in_buffer = result == rig[i].in + c.in_offset[i] && (c.in_place || c.chain % 2 == 0);
    char* base = in_buffer ? rig[i].in : rig[i].out;
    const size_t offset = in_buffer ? c.in_offset[i] : c.out_offset[i];
    RIG_CHECK(cudaMemcpy(got.data(), base, got.size(), cudaMemcpyDeviceToHost));
    for (size_t p = 0; p < got.size(); ++p) {
      if (p >= offset && p < offset + bytes) continue;
      if (got[p] == static_cast<char>(0xa5)) continue;
      printf("    rank %zu wrote outside at byte %lld of %zu\n", i,
             static_cast<long long>(p) - static_cast<long long>(offset), bytes);
      good = false;
      break;
    }
    const std::vector<char> own(got.begin() + offset, got.begin() + offset + bytes);
    size_t wrong = 0, at_first = 0, at_last = 0;
    for (size_t e = 0; e < c.count; ++e) {
      if (same(c.type, own.data() + e * size, wanted.data() + e * size)) continue;
      if (wrong++ == 0) at_first = e;
      at_last = e;
    }
    if (wrong != 0) {
      printf("    rank %zu: %zu of %llu elements differ, %zu..%zu; first is %.9g, wanted %.9g\n", i,
             wrong, static_cast<unsigned long long>(c.count), at_first, at_last,
             widened(c.type, own.data() + at_first * size),
             widened(c.type, wanted.data() + at_first * size));
      good = false;
    }
    if (i == 0) {
      first = own;
    } else if (own != first) {
      printf("    ranks 0 and %zu differ in bits\n", i);
      good = false;
    }
  }
  return good;
}

Case random_case(Rig& rig, Random& random) {
  Case c{};
  c.kernel = kKernels[random.below(kKernelCount)];
  c.type = static_cast<Type>(random.below(3));
  c.op = random.below(4) != 0 ? static_cast<Op>(random.below(2))
                              : static_cast<Op>(2 + random.below(3));
  const uint64_t most = most_count(rig, c.kernel, c.type);
  const uint64_t scale = random.below(20);
  const uint64_t limit = scale == 0 ? 1 << 21 : scale < 6 ? 1 << 16 : scale < 14 ? 1 << 12 : 64;
  c.count = random.below(std::min<uint64_t>(limit, most) + 1);
  if (random.below(16) == 0) c.count = std::min<uint64_t>(most, (1 << 14) + random.below(3) - 1);
  c.chain = 1 + static_cast<int>(random.below(4));
  c.in_place = random.below(3) == 0;
  c.any_bits = random.below(4) != 0;
  c.delays = random.below(2) == 0;
  const bool odd = random.below(2) == 0 && c.kernel != Kernel::kRing;
  for (size_t i = 0; i < rig.size(); ++i) {
    c.in_offset[i] = odd ? 2 * random.below(24) : 16 * random.below(3);
    c.out_offset[i] = odd ? 2 * random.below(24) : 16 * random.below(3);
  }
  const bool wide = rig.size() == 2 && (c.op == Op::kSum || c.op == Op::kAvg);
  c.shape.threads = 32 * static_cast<uint32_t>(
                             1 + random.below(c.kernel == Kernel::kOneshotLines && wide ? 32 : 16));
  if (c.kernel == Kernel::kTwoshotChunks) c.shape.threads = 1024;
  c.shape.chunk_bytes = 128u << random.below(10);
  c.shape.window = 1 + static_cast<uint32_t>(random.below(4));
  c.shape.stages = 4u << random.below(3);
  c.shape.lag = 1 + static_cast<uint32_t>(random.below(4));
  const Args a = rig.args(0, c.kernel, c.type, c.op, c.count, c.shape);
  const uint32_t most_ctas = std::min(rig.most_ctas(c.kernel, a), c.kernel == Kernel::kRing ? rig.capacity().ring_ctas : 132u);
  c.shape.ctas = 1 + static_cast<uint32_t>(random.below(most_ctas));
  if (random.below(3) == 0) c.shape.ctas = std::min(c.shape.ctas, 3u);
  return c;
}

}  // namespace

void run_fuzz(Rig& rig, Tally& tally, uint64_t seed, double seconds) {
  const auto start = std::chrono::steady_clock::now();
  Random random(seed);
  int cases[kKernelCount] = {}, bad[kKernelCount] = {};
  rig.reset(0xfffffff0u, 0xffffff00ull);  // the wrap comes early
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <
         seconds) {
    const Case c = random_case(rig, random);
    const int k = static_cast<int>(c.kernel);
    ++cases[k];
    if (run(rig, c, random)) {
      tally.note(true, "");
      continue;
    }
    ++bad[k];
    tally.note(false, c.text(rig));
    rig.reset();
    if (bad[k] == 12) {
      printf("  enough of these\n");
      break;
    }
  }
  for (Kernel k : kKernels) {
    printf("fuzz %-15s ranks %zu: %d cases, %d failed (seed %llu)\n", name(k), rig.size(),
           cases[static_cast<int>(k)], bad[static_cast<int>(k)],
           static_cast<unsigned long long>(seed));
  }
}

void run_edges(Rig& rig, Tally& tally) {
  Random random(7);
  rig.reset(0xfffffffcu, 0xfffffffcull);
  for (Kernel kernel : kKernels) {
    for (Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
      int failed = 0, all = 0;
      for (uint64_t count :
           {0,   1,   2,   3,   4,   7,   8,   9,    59,   60,    61,    119,     120,
            121, 239, 240, 241, 479, 480, 481, 1023, 4096, 65535, 65537, 1 << 20, (1 << 22) + 5}) {
        if (count > most_count(rig, kernel, type)) continue;
        if (rig.size() > 3 && count > 1 << 20) continue;  // the host's time
        for (bool in_place : {false, true}) {
          Case c{};
          c.kernel = kernel, c.type = type, c.op = in_place ? Op::kAvg : Op::kSum, c.count = count;
          c.in_place = in_place;
          c.chain = 2;
          c.shape.threads = 256;
          const Args a = rig.args(0, kernel, type, c.op, count, c.shape);
          c.shape.ctas = std::min(rig.most_ctas(kernel, a), in_place ? 5u : 32u);
          ++all;
          const bool good = run(rig, c, random);
          failed += !good;
          tally.note(good, c.text(rig));
          if (!good) rig.reset();
          if (failed > 4) break;
        }
        if (failed > 4) break;
      }
      printf("edges %-15s ranks %zu %-4s: %d cases, %d failed\n", name(kernel), rig.size(),
             name(type), all, failed);
    }
  }
}

}  // namespace rig
