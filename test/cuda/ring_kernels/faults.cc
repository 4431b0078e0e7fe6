// Faults: a rank that never launches, one that is late, one with another count, an abort. Every kernel
// leaves in time with a record, and the next call works. And graphs: replays advance the epoch.
// Called by main.cc.
#include <cmath>

#include "reference.h"

namespace rig {
namespace {

constexpr uint64_t kCount = 20000;  // f32: all formats take it

Shape small_shape(Kernel kernel) {
  Shape shape;
  shape.ctas = 4;
  shape.threads = kernel == Kernel::kTwoshotChunks ? 1024 : 256;
  shape.chunk_bytes = 4096;
  return shape;
}

/// Every slice of a reduce-scatter holds what the whole of an all-reduce does.
void prepare(Rig& rig) {
  std::vector<float> values(kCount);
  for (size_t i = 0; i < rig.size(); ++i) {
    for (size_t e = 0; e < kCount; ++e) values[e] = static_cast<float>(e % 1000 + i);
    rig.use(i);
    for (size_t s = 0; s < rig.size(); ++s) {
      RIG_CHECK(cudaMemcpy(rig[i].in + s * kCount * 4, values.data(), kCount * 4,
                           cudaMemcpyHostToDevice));
    }
    RIG_CHECK(cudaMemset(rig[i].out, 0xff, rig.size() * kCount * 4));
    RIG_CHECK(cudaDeviceSynchronize());
  }
}

bool right(Rig& rig, Kind kind = Kind::kAllReduce) {
  std::vector<float> got(kCount);
  const auto n = static_cast<float>(rig.size());
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    for (size_t s = 0; s < (kind == Kind::kAllGather ? rig.size() : 1); ++s) {
      RIG_CHECK(cudaMemcpy(got.data(), rig[i].out + s * kCount * 4, kCount * 4,
                           cudaMemcpyDeviceToHost));
      for (size_t e = 0; e < kCount; ++e) {
        const auto own = static_cast<float>(e % 1000);
        const float wanted = kind == Kind::kAllGather ? own + static_cast<float>(s)
                                                      : own * n + n * (n - 1) / 2;
        if (got[e] == wanted) continue;
        printf("    rank %zu part %zu element %zu is %g, wanted %g\n", i, s, e, got[e], wanted);
        return false;
      }
    }
  }
  return true;
}

void start(Rig& rig, Kernel kernel, size_t i, uint64_t count = kCount,
           Kind kind = Kind::kAllReduce) {
  const Args a = rig.args(i, kernel, Type::kF32, Op::kSum, count, small_shape(kernel), kind);
  if (const char* why = Rig::explain(kernel, a)) printf("    refused: %s\n", why);
  rig.use(i);
  RIG_CHECK(Rig::start(kernel, a, rig[i].stream));
}

}  // namespace

bool works(Rig& rig, Kernel kernel, Kind kind) {
  rig.reset();
  prepare(rig);
  for (size_t i = 0; i < rig.size(); ++i) start(rig, kernel, i, kCount, kind);
  rig.finish("call after a fault");
  rig.print_control();
  return rig.clean() && right(rig, kind);
}

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

enum class Fault { kMissing, kAborted, kShort, kLate };

bool fault(Rig& rig, Kernel kernel, Kind kind, Fault what, size_t who) {
  const uint64_t usual = rig.limit_ns;
  rig.limit_ns = what == Fault::kAborted || what == Fault::kLate ? 10'000'000'000 : 30'000'000;
  rig.reset();
  prepare(rig);
  const double begin = now();
  for (size_t i = 0; i < rig.size(); ++i) {
    if (i == who && what != Fault::kShort) continue;
    start(rig, kernel, i, i == who ? kCount / 8 : kCount, kind);
  }
  bool good = true;
  if (what == Fault::kAborted || what == Fault::kLate) {
    while (now() - begin < 0.02) {
    }
  }
  const double told = now();
  if (what == Fault::kAborted) {
    for (size_t i = 0; i < rig.size(); ++i) {
      __atomic_store_n(&rig[i].control->abort, 1u, __ATOMIC_SEQ_CST);
    }
  }
  if (what == Fault::kLate) start(rig, kernel, who, kCount, kind);
  rig.finish("fault");
  const double took = now() - (what == Fault::kAborted ? told : begin);
  if (what == Fault::kLate) {
    good = rig.clean() && right(rig, kind);
  } else {
    size_t left = 0;
    for (size_t i = 0; i < rig.size(); ++i) {
      const Control& c = *rig[i].control;
      left += c.status != 0;
      if (c.status == 0) continue;
      if (c.rank != i || c.peer == i || c.peer >= rig.size()) good = false;
      if (c.status != (what == Fault::kAborted ? 2u : 1u)) good = false;
      if (what == Fault::kMissing && rig.size() == 2 && c.peer != who) good = false;
      if (c.expected == c.seen) good = false;
    }
    // With a shorter count some ranks may have got all that they wait for.
    good = good && (what == Fault::kShort ? left >= 1 : left == rig.size() - 1) && took < 1.03;
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

void run_faults(Rig& rig, Tally& tally) {
  static const char* const names[] = {"never launches", "aborted", "shorter count", "late"};
  for (Kernel kernel : kKernels) {
    for (Kind kind : kKinds) {
      if (!exists(kernel, kind)) continue;
      for (Fault what : {Fault::kMissing, Fault::kAborted, Fault::kShort, Fault::kLate}) {
        // An all-gather by chunks does not see a count: the shorter rank's part is short.
        if (what == Fault::kShort && kind == Kind::kAllGather && kernel == Kernel::kTwoshotChunks) {
          continue;
        }
        for (size_t who : {size_t{0}, rig.size() - 1}) {
          const bool good = fault(rig, kernel, kind, what, who);
          tally.note(good, std::string("fault ") + name(kernel) + " " + name(kind) + ", rank " +
                               std::to_string(who) + " " + names[static_cast<int>(what)]);
        }
      }
      printf("faults %-15s %-14s ranks %zu done\n", name(kernel), name(kind), rig.size());
    }
  }
}

void run_replay(Rig& rig, Tally& tally) {
  rig.reset(0xffffffc0u, 0xffffff00ull);
  prepare(rig);
  std::vector<cudaGraphExec_t> graphs(rig.size());
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    for (Kernel kernel : kKernels) {
      for (Kind kind : kKinds) {
        if (!exists(kernel, kind)) continue;
        rig.most_ctas(kernel, rig.args(0, kernel, Type::kF32, Op::kSum, kCount,
                                       small_shape(kernel), kind));
      }
    }
    rig.use(i);
    RIG_CHECK(cudaStreamBeginCapture(rig[i].stream, cudaStreamCaptureModeThreadLocal));
    for (int round = 0; round < 3; ++round) {
      for (Kind kind : {Kind::kAllGather, Kind::kReduceScatter, Kind::kAllReduce}) {
        for (Kernel kernel : kKernels) {
          if (exists(kernel, kind)) start(rig, kernel, i, kCount, kind);
        }
      }
    }
    cudaGraph_t graph;
    RIG_CHECK(cudaStreamEndCapture(rig[i].stream, &graph));
    RIG_CHECK(cudaGraphInstantiate(&graphs[i], graph, 0));
    RIG_CHECK(cudaGraphDestroy(graph));
    RIG_CHECK(cudaGraphUpload(graphs[i], rig[i].stream));
  }
  rig.finish("upload");
  for (int replay = 0; replay < 200; ++replay) {
    for (size_t i = 0; i < rig.size(); ++i) {
      rig.use(i);
      RIG_CHECK(cudaGraphLaunch(graphs[i], rig[i].stream));
    }
    if (replay % 20 == 0) {  // called between replays
      for (size_t i = 0; i < rig.size(); ++i) start(rig, kKernels[replay / 20 % kKernelCount], i);
    }
  }
  rig.finish("replays");
  rig.print_control();
  const bool good = rig.clean() && right(rig);
  tally.note(good, "200 replays of 33 calls");
  printf("replay ranks %zu: %s\n", rig.size(), good ? "good" : "FAILED");
  for (size_t i = 0; i < rig.size(); ++i) {
    rig.use(i);
    RIG_CHECK(cudaGraphExecDestroy(graphs[i]));
  }
}

}  // namespace rig
