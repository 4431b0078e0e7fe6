// Runs an elementwise operator over a TensorIterator. The operator is a TileFn: a loop over dense
// arrays of one lane type; this file brings every operand into that form (in place where it lies so
// already, else through a block that stays in the first-level cache), splits the work over threads
// by a fixed grain, and enqueues. Used by unary, binary, ternary and cast.
#pragma once

#include <cstdint>

#include "cpu/elementwise/convert_block.h"
#include "dispatch/kernels.h"

namespace weft::cpu {

/// One call's work: out[i] = f(in[0][i], ...) for i < n. `out` may be one of the inputs.
struct Tile {
  void* out;
  const void* in[kMaxOperands - 1];
  int64_t n;
  double p0, p1;
};
using TileFn = void (*)(const Tile& tile);

struct Elementwise {
  TensorIterator it;
  TileFn fn;  ///< nullptr: out = in, converted
  LaneType lane;
  double p0 = 0, p1 = 0;
};

/// Elements that one thread takes at a time. Borders depend on it alone, never on the thread count.
inline constexpr int64_t kElementGrain = 16384;

/// The lane that the operands combine in; a bool output has no say.
LaneType common_lane(const TensorIterator& it);
/// Runs `work` on the calling thread and the compute pool.
void run_elementwise(const Elementwise& work);
void enqueue_elementwise(const Elementwise& work, Stream& stream);
/// Throws DtypeError naming `op` and the dtypes of `it`.
[[noreturn]] void fail_dtype(const char* op, int id, const TensorIterator& it);

// Loops of a TileFn. Operands overlap exactly or not at all, so iterations are independent.
template <typename T, typename F>
void map1(const Tile& t, F f) {
  auto* out = static_cast<T*>(t.out);
  auto* a = static_cast<const T*>(t.in[0]);
#pragma GCC ivdep
  for (int64_t i = 0; i < t.n; ++i) out[i] = static_cast<T>(f(a[i]));
}
template <typename T, typename F>
void map2(const Tile& t, F f) {
  auto* out = static_cast<T*>(t.out);
  auto* a = static_cast<const T*>(t.in[0]);
  auto* b = static_cast<const T*>(t.in[1]);
#pragma GCC ivdep
  for (int64_t i = 0; i < t.n; ++i) out[i] = static_cast<T>(f(a[i], b[i]));
}
template <typename T, typename F>
void map3(const Tile& t, F f) {
  auto* out = static_cast<T*>(t.out);
  auto* a = static_cast<const T*>(t.in[0]);
  auto* b = static_cast<const T*>(t.in[1]);
  auto* c = static_cast<const T*>(t.in[2]);
#pragma GCC ivdep
  for (int64_t i = 0; i < t.n; ++i) out[i] = static_cast<T>(f(a[i], b[i], c[i]));
}

}  // namespace weft::cpu
