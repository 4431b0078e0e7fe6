// Payloads of hundreds of millions of elements, past 32 bits of bytes and odd: every kernel that takes them.
// Called by main.cc.
#include "values.cuh"

namespace rig {
namespace {

template <typename T>
bool one(Rig& rig, Kernel kernel, Kind kind, Type type, uint64_t count, size_t offset,
         const Counter& wrong) {
  const auto n = static_cast<uint32_t>(rig.size());
  const uint64_t whole_count = kind == Kind::kAllReduce ? count : count * n;
  Shape shape{kernel == Kernel::kRing ? 16u : 64u, 1024, kernel == Kernel::kRing ? 16384u : 65536u, 2};
  for (uint32_t r = 0; r < n; ++r) {
    rig.use(r);
    const uint64_t have = kind == Kind::kAllGather ? count : whole_count;
    fill_whole<T><<<512, 256, 0, rig[r].stream>>>(reinterpret_cast<T*>(rig[r].in + offset), have, r);
    RIG_CHECK(cudaGetLastError());
    RIG_CHECK(cudaMemsetAsync(rig[r].out, 0xff, offset + whole_count * sizeof(T), rig[r].stream));
  }
  rig.finish("filling");
  const Args probe = rig.args(0, kernel, type, Op::kSum, count, shape, kind);
  shape.ctas = std::min(shape.ctas, rig.most_ctas(kernel, probe));
  for (uint32_t r = 0; r < n; ++r) {
    Args a = rig.args(r, kernel, type, Op::kSum, count, shape, kind);
    a.input = rig[r].in + offset;
    for (uint32_t q = 0; q < n; ++q) a.outputs[q] = rig[q].out + offset;
    if (const char* why = Rig::explain(kernel, a)) {
      printf("    refused: %s\n", why);
      return false;
    }
    rig.use(r);
    RIG_CHECK(Rig::start(kernel, a, rig[r].stream));
  }
  rig.finish("huge");
  rig.print_control();
  for (uint32_t r = 0; r < n; ++r) {
    rig.use(r);
    const T* out = reinterpret_cast<const T*>(rig[r].out + offset);
    if (kind == Kind::kAllGather) {
      for (uint32_t q = 0; q < n; ++q) {
        count_wrong<T><<<512, 256, 0, rig[r].stream>>>(out + q * count, count, 0, q, 0, wrong.get());
      }
    } else {
      const uint64_t first = kind == Kind::kReduceScatter ? r * count : 0;
      count_wrong<T><<<512, 256, 0, rig[r].stream>>>(out, count, first, 0, n, wrong.get());
    }
    RIG_CHECK(cudaGetLastError());
    rig.finish("checking");
  }
  const unsigned long long bad = wrong.take();
  if (bad != 0) printf("    %llu elements are wrong\n", bad);
  return rig.clean() && bad == 0;
}

}  // namespace

void run_huge(Rig& rig, Tally& tally, uint64_t elements) {
  const Counter wrong;
  const uint64_t usual = rig.limit_ns;
  rig.limit_ns = std::max<uint64_t>(usual, 10'000'000'000);
  for (Kernel kernel : {Kernel::kTwoshotChunks, Kernel::kRing}) {
    for (Kind kind : kKinds) {
      if (!exists(kernel, kind)) continue;
      for (uint64_t take : {elements, elements - 1, elements / 2 + 12'345}) {
        const uint64_t count = kind == Kind::kAllReduce ? take : take / rig.size();
        for (const bool half : {false, true}) {
          const size_t offset = kernel == Kernel::kRing || take == elements ? 0 : half ? 2 : 4;
          const bool good = half ? one<__nv_bfloat16>(rig, kernel, kind, Type::kBF16, count, offset, wrong)
                                 : one<float>(rig, kernel, kind, Type::kF32, count, offset, wrong);
          tally.note(good, std::string("huge ") + name(kernel) + " " + name(kind) + " count " +
                               std::to_string(count) + (half ? " bf16" : " f32"));
          if (!good) rig.reset();
        }
      }
      printf("huge %-15s %-14s ranks %zu done\n", name(kernel), name(kind), rig.size());
    }
  }
  rig.limit_ns = usual;
}

}  // namespace rig
