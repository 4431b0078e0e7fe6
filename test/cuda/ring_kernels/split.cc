// Reduce-scatter and all-gather, bit for bit against the host: counts, alignments, shapes, in place,
// and chains of calls without a wait between that alternate between two sets of buffers. Called by main.cc.
#include "reference.h"

namespace rig {
namespace {

struct Case {
  Kernel kernel;
  Kind kind;
  Type type;
  Op op;
  uint64_t count;
  Shape shape;
  int chain;
  bool in_place, any_bits, delays;
  size_t in_offset, out_offset;

  std::string text(const Rig& rig) const {
    char line[256];
    snprintf(line, sizeof line,
             "%s %s ranks %zu %s %s count %llu ctas %u threads %u chunk %u window %u chain %d%s "
             "offsets %zu %zu",
             name(kind), name(kernel), rig.size(), name(type), name(op),
             static_cast<unsigned long long>(count), shape.ctas, shape.threads, shape.chunk_bytes,
             shape.window, chain, in_place ? " in place" : "", in_offset, out_offset);
    return line;
  }
};

uint64_t most_count(const Rig& rig, Kernel kernel, Type type) {
  const Capacity& c = rig.capacity();
  const uint64_t room = (rig.bytes() / 2 - 1024) / rig.size();
  const uint64_t format = kernel == Kernel::kOneshotWords   ? c.words_bytes
                          : kernel == Kernel::kOneshotLines ? c.lines_bytes
                                                            : room;
  return std::min(room, format) / element(type);
}

/// What the buffers of all ranks hold: two sets of `pitch` bytes each.
struct Images {
  std::vector<std::vector<char>> in, out;
};

class Run {
 public:
  Run(Rig& rig, const Case& c) : rig_(rig), c_(c), n_(rig.size()), bytes_(c.count * element(c.type)) {
    pitch_ = (n_ * bytes_ + 128 + 255) / 256 * 256;
  }

  bool good(Random& random) {
    fill_all(random);
    const size_t turn = random.below(n_);
    for (int k = 0; k < c_.chain; ++k) {
      const size_t set = k % 2 * pitch_;
      for (size_t step = 0; step < n_; ++step) {
        if (!launch((step + turn) % n_, set)) return false;
        if (c_.delays) pause(random.below(60));
      }
      simulate(set);
    }
    rig_.finish("split");
    if (!rig_.clean()) {
      printf("    a kernel left early\n");
      rig_.print_control();
      return false;
    }
    bool all = true;
    for (size_t r = 0; r < n_; ++r) {
      all = compare(r, rig_[r].in, wanted_.in[r], "input") && all;
      all = compare(r, rig_[r].out, wanted_.out[r], "output") && all;
    }
    return all;
  }

 private:
  bool scatter() const { return c_.kind == Kind::kReduceScatter; }
  size_t input_at(size_t rank, size_t set) const {
    return c_.in_place && !scatter() ? set + c_.out_offset + rank * bytes_ : set + c_.in_offset;
  }
  size_t output_at(size_t rank, size_t set) const {
    return c_.in_place && scatter() ? set + c_.in_offset + rank * bytes_ : set + c_.out_offset;
  }
  std::vector<std::vector<char>>& inputs() { return c_.in_place && !scatter() ? wanted_.out : wanted_.in; }
  std::vector<std::vector<char>>& outputs() { return c_.in_place && scatter() ? wanted_.in : wanted_.out; }

  void fill_all(Random& random) {
    const std::vector<char> fresh(2 * pitch_, static_cast<char>(0xa5));
    wanted_.in.assign(n_, fresh);
    wanted_.out.assign(n_, fresh);
    for (size_t r = 0; r < n_; ++r) {
      for (size_t set : {size_t{0}, pitch_}) {
        std::vector<char> values(scatter() ? n_ * bytes_ : bytes_);
        fill(random, c_.type, c_.any_bits, values);
        std::copy(values.begin(), values.end(), inputs()[r].begin() + input_at(r, set));
      }
      rig_.use(r);
      RIG_CHECK(cudaMemcpy(rig_[r].in, wanted_.in[r].data(), 2 * pitch_, cudaMemcpyHostToDevice));
      RIG_CHECK(cudaMemcpy(rig_[r].out, wanted_.out[r].data(), 2 * pitch_, cudaMemcpyHostToDevice));
      RIG_CHECK(cudaDeviceSynchronize());
    }
  }

  bool launch(size_t rank, size_t set) {
    Args a = rig_.args(rank, c_.kernel, c_.type, c_.op, c_.count, c_.shape, c_.kind);
    a.input = (c_.in_place && !scatter() ? rig_[rank].out : rig_[rank].in) + input_at(rank, set);
    for (size_t r = 0; r < n_; ++r) {
      a.outputs[r] = (c_.in_place && scatter() ? rig_[r].in : rig_[r].out) + output_at(r, set);
    }
    if (const char* why = Rig::explain(c_.kernel, a)) {
      printf("    refused: %s\n", why);
      return false;
    }
    rig_.use(rank);
    RIG_CHECK(Rig::start(c_.kernel, a, rig_[rank].stream));
    return true;
  }

  static void pause(uint64_t us) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < until) {
    }
  }

  std::vector<char> part(size_t rank, size_t at) {
    const auto begin = inputs()[rank].begin() + at;
    return {begin, begin + bytes_};
  }

  void simulate(size_t set) {
    std::vector<std::vector<char>> results(n_);
    for (size_t r = 0; r < n_; ++r) {
      std::vector<std::vector<char>> parts(n_);
      for (size_t q = 0; q < n_; ++q) {
        parts[q] = part(q, input_at(q, set) + (scatter() ? r * bytes_ : 0));
        if (!scatter()) results[r].insert(results[r].end(), parts[q].begin(), parts[q].end());
      }
      if (!scatter()) continue;
      results[r].resize(bytes_);
      for (size_t e = 0; e < c_.count; ++e) {
        reduced(c_.type, c_.op, parts, e, results[r].data() + e * element(c_.type));
      }
    }
    for (size_t r = 0; r < n_; ++r) {
      std::copy(results[r].begin(), results[r].end(), outputs()[r].begin() + output_at(r, set));
    }
  }

  bool compare(size_t rank, const char* device, std::vector<char>& wanted, const char* which) {
    std::vector<char> got(wanted.size());
    rig_.use(rank);
    RIG_CHECK(cudaMemcpy(got.data(), device, got.size(), cudaMemcpyDeviceToHost));
    if (got == wanted) return true;
    if (scatter() && &wanted == &outputs()[rank]) {  // NaN by any bits
      const size_t size = element(c_.type);
      for (size_t set : {size_t{0}, pitch_}) {
        for (size_t e = 0; e < c_.count; ++e) {
          char* to = wanted.data() + output_at(rank, set) + e * size;
          const char* from = got.data() + output_at(rank, set) + e * size;
          if (same(c_.type, from, to)) memcpy(to, from, size);
        }
      }
      if (got == wanted) return true;
    }
    size_t wrong = 0, first = 0;
    for (size_t p = got.size(); p-- > 0;) {
      if (got[p] != wanted[p]) ++wrong, first = p;
    }
    printf("    rank %zu: %zu of %zu bytes of its %s differ, from byte %zu of set %zu\n", rank, wrong,
           got.size(), which, first % pitch_, first / pitch_);
    return false;
  }

  Rig& rig_;
  const Case& c_;
  const size_t n_, bytes_;
  size_t pitch_ = 0;
  Images wanted_;
};

constexpr Kernel kSplit[] = {Kernel::kOneshotWords, Kernel::kOneshotLines, Kernel::kTwoshotChunks};

Case random_case(Rig& rig, Random& random) {
  Case c{};
  c.kernel = kSplit[random.below(3)];
  c.kind = kKinds[1 + random.below(2)];
  c.type = static_cast<Type>(random.below(3));
  c.op = static_cast<Op>(random.below(2));
  const uint64_t most = most_count(rig, c.kernel, c.type);
  const uint64_t scale = random.below(20);
  const uint64_t limit = scale == 0 ? 1 << 20 : scale < 6 ? 1 << 16 : scale < 14 ? 1 << 12 : 64;
  c.count = random.below(std::min<uint64_t>(limit, most) + 1);
  c.chain = 1 + static_cast<int>(random.below(5));
  c.in_place = random.below(3) == 0;
  c.any_bits = random.below(4) != 0;
  c.delays = random.below(2) == 0;
  const bool odd = random.below(2) == 0;
  c.in_offset = odd ? 2 * random.below(24) : 16 * random.below(3);
  c.out_offset = odd ? 2 * random.below(24) : 16 * random.below(3);
  c.shape.threads = c.kernel == Kernel::kTwoshotChunks
                        ? 1024
                        : 32 * static_cast<uint32_t>(1 + random.below(16));
  c.shape.chunk_bytes = 128u << random.below(10);
  c.shape.window = 1 + static_cast<uint32_t>(random.below(4));
  const Args a = rig.args(0, c.kernel, c.type, c.op, c.count, c.shape, c.kind);
  c.shape.ctas = 1 + static_cast<uint32_t>(random.below(std::min(rig.most_ctas(c.kernel, a), 132u)));
  if (random.below(3) == 0) c.shape.ctas = std::min(c.shape.ctas, 3u);
  return c;
}

void edges(Rig& rig, Tally& tally, Random& random) {
  for (Kernel kernel : kSplit) {
    for (Kind kind : {Kind::kReduceScatter, Kind::kAllGather}) {
      int failed = 0, all = 0;
      for (uint64_t count : {0, 1, 2, 3, 7, 8, 9, 119, 120, 121, 239, 241, 481, 4096, 65537, 1 << 19}) {
        for (bool in_place : {false, true}) {
          const Type type = static_cast<Type>((count + in_place) % 3);
          if (count > most_count(rig, kernel, type)) continue;
          Case c{};
          c.kernel = kernel, c.kind = kind, c.type = type, c.op = in_place ? Op::kAvg : Op::kSum;
          c.count = count, c.chain = 3, c.in_place = in_place, c.any_bits = true;
          c.shape.threads = kernel == Kernel::kTwoshotChunks ? 1024 : 256;
          const Args a = rig.args(0, kernel, type, c.op, count, c.shape, kind);
          c.shape.ctas = std::min(rig.most_ctas(kernel, a), in_place ? 5u : 32u);
          ++all;
          const bool good = Run(rig, c).good(random);
          failed += !good;
          tally.note(good, c.text(rig));
          if (!good) rig.reset();
        }
      }
      printf("split edges %-15s %-14s ranks %zu: %d cases, %d failed\n", name(kernel), name(kind),
             rig.size(), all, failed);
    }
  }
}

}  // namespace

void run_split(Rig& rig, Tally& tally, uint64_t seed, double seconds) {
  Random random(seed + 100);
  rig.reset(0xfffffff0u, 0xffffff00ull);  // the wrap comes early
  edges(rig, tally, random);
  const auto start = std::chrono::steady_clock::now();
  int cases = 0, bad = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds &&
         bad < 12) {
    const Case c = random_case(rig, random);
    ++cases;
    const bool good = Run(rig, c).good(random);
    tally.note(good, good ? "" : c.text(rig));
    if (good) continue;
    ++bad;
    rig.reset();
  }
  printf("split fuzz ranks %zu: %d cases, %d failed (seed %llu)\n", rig.size(), cases, bad,
         static_cast<unsigned long long>(seed));
}

}  // namespace rig
