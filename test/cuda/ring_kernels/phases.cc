// A rank that stops half-way: it never launches, but what it sends first lies there, so that the others get as far as
// their second wait. Each must leave there, at its deadline and when told to, name phase and rank, and the next call
// must work. (faults.cc: a rank that sends nothing, which is the first wait.) Called by main.cc.
#include "reference.h"

namespace rig {
namespace {

constexpr uint64_t kCount = 20000;  // f32; a CTA has fewer chunks than its window

Shape shape_of() { return {8, 256, 4096, 4}; }

void put(char* to, uint64_t value) { RIG_CHECK(cudaMemcpy(to, &value, sizeof value, cudaMemcpyHostToDevice)); }

/// What `who` sends to all others before its second step, in the first call after a reset.
void send_first(Rig& rig, Kernel kernel, size_t who) {
  const size_t n = rig.size();
  const Layout at = layout_of(rig.capacity(), static_cast<uint32_t>(n));
  const Shape shape = shape_of();
  for (size_t i = 0; i < n; ++i) {
    if (i == who) continue;
    rig.use(i);
    char* const to = rig[i].workspace;
    if (kernel == Kernel::kTwoshotChunks) {  // all-gather: the start
      for (uint32_t slot = 0; slot < shape.ctas * shape.window; ++slot) {
        put(to + at.contribution_flags + (who * rig.capacity().slots + slot) * kFlagBytes, 1 + slot % shape.window);
      }
    } else if (kernel == Kernel::kTwoshotLines) {
      const uint64_t steps = (kCount * 4 + kStepBytes - 1) / kStepBytes, slice = (steps + n - 1) / n;
      char* const lines = to + at.lines + (n + who) * at.lines_source;  // bank 1; words that all hold the epoch
      const std::vector<uint32_t> ones(slice * kStepLineBytes / 4, 1);
      RIG_CHECK(cudaMemcpy(lines, ones.data(), ones.size() * 4, cudaMemcpyHostToDevice));
    } else {  // ring
      for (uint32_t cta = 0; cta < shape.ctas; ++cta) {
        if (i == (who + 1) % n) put(to + at.arrived + cta * kFlagBytes, 1 << 20);
        if (who == (i + 1) % n) put(to + at.credit + cta * kFlagBytes, 1 << 20);
      }
    }
    RIG_CHECK(cudaDeviceSynchronize());
  }
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool stops(Rig& rig, Kernel kernel, Kind kind, size_t who, bool abort) {
  const Phase phase = kind == Kind::kAllGather ? kPart : kResult;
  const uint64_t usual = rig.limit_ns;
  rig.limit_ns = abort ? 10'000'000'000 : 30'000'000;
  rig.reset();
  for (size_t i = 0; i < rig.size(); ++i) {  // loads the kernel
    rig.most_ctas(kernel, rig.args(i, kernel, Type::kF32, Op::kSum, kCount, shape_of(), kind));
  }
  send_first(rig, kernel, who);
  double begin = now();
  for (size_t i = 0; i < rig.size(); ++i) {
    if (i == who) continue;
    rig.use(i);
    RIG_CHECK(Rig::start(kernel, rig.args(i, kernel, Type::kF32, Op::kSum, kCount, shape_of(), kind), rig[i].stream));
  }
  if (abort) {
    while (now() - begin < 0.02) {
    }
    begin = now();
    for (size_t i = 0; i < rig.size(); ++i) __atomic_store_n(&rig[i].control->abort, 1u, __ATOMIC_SEQ_CST);
  }
  rig.finish("a rank that stops half-way");
  const double took = now() - begin;
  bool good = took < 1.03;
  for (size_t i = 0; i < rig.size(); ++i) {
    const Control& c = *rig[i].control;
    if (i == who) continue;
    good = good && c.status == (abort ? 2u : 1u) && c.rank == i && c.peer == who && c.phase == phase;
  }
  if (!good) {
    printf("    took %.3f s\n", took);
    rig.print_control();
  }
  rig.limit_ns = usual;
  const bool after = works(rig, kernel, kind);
  if (!after) printf("    the call after it is wrong\n");
  return good && after;
}

}  // namespace

void run_phases(Rig& rig, Tally& tally) {
  for (Kernel kernel : {Kernel::kTwoshotLines, Kernel::kTwoshotChunks, Kernel::kRing}) {
    for (Kind kind : kKinds) {
      if (!exists(kernel, kind)) continue;
      for (size_t who : {size_t{0}, rig.size() - 1}) {
        for (bool abort : {false, true}) {
          tally.note(stops(rig, kernel, kind, who, abort),
                     std::string("phases ") + name(kernel) + " " + name(kind) + ", rank " + std::to_string(who) +
                         " stops half-way, " + (abort ? "aborted" : "deadline"));
        }
      }
      printf("phases %-15s %-14s ranks %zu done\n", name(kernel), name(kind), rig.size());
    }
  }
}

}  // namespace rig
