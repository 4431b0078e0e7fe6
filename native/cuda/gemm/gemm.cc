// gemm: the entry point of the matrix product on CUDA devices. Products whose strides the tensor
// memory accelerator can step (multiples of 16 bytes) go to the tensor-core menu, f32 among them as
// TF32 unless that is switched off; everything else goes to gemm_simt. Called through the kernel
// table.
#include "cuda/gemm/gemm.h"

#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "core/precision.h"
#include "cuda/gemm/activation.h"
#include "cuda/gemm/choice.h"
#include "fabric/cuda_launch.h"

namespace weft::cuda {
namespace {

constexpr int64_t kAlignBytes = 16;         // of pointers and strides in a tensor map
constexpr int64_t kMostStride = 1ll << 39;  // bytes; a tensor map takes less than 2^40
constexpr int64_t kMostLaunches = 32;       // of one product with several batch dimensions
constexpr int64_t kFewProducts = 16 * 16 * 16;

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kAlignBytes == 0; }

// A, B and C of one dimension of the batch.
struct BatchStep {
  int64_t size, a, b, c;
};

bool steps(int64_t stride, int64_t bytes) {
  return stride > 0 && stride * bytes % kAlignBytes == 0 && stride * bytes < kMostStride;
}

bool menu_reads(const GemmArgs& g) {
  const bool tensor_dtype = is_half(g.dtype) || (g.dtype == DType::kF32 && tf32());
  if (!tensor_dtype) return false;
  const auto bytes = static_cast<int64_t>(dtype_bytes(g.dtype));
  if (g.m > INT_MAX || g.n > INT_MAX || g.k > INT_MAX) return false;
  if (g.k == 0 || g.m * g.n * g.k < kFewProducts) return false;
  return aligned(g.a) && aligned(g.b) && aligned(g.c) && aligned(g.pre_activation) &&
         steps(g.lda, bytes) && steps(g.ldb, bytes) && steps(g.ldc, bytes);
}

// Batches that differ in A and C alone, and lie there one after the other, are more rows of one
// product.
void fold_batch(GemmArgs& g) {
  if (g.batch_dims != 1 || g.a_transposed || g.b_batch[0] != 0) return;
  if (g.a_batch[0] != g.m * g.lda || g.c_batch[0] != g.m * g.ldc) return;
  g.m *= g.batch_shape[0];
  g.batch_dims = 0;
}

// The batch dimension that one launch can take, -1 when there is none; the largest is worth most.
int launch_dimension(const GemmArgs& g) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(g.dtype));
  int best = -1;
  for (int d = 0; d < g.batch_dims; ++d) {
    const bool fits = steps(g.a_batch[d], bytes) && steps(g.b_batch[d], bytes) &&
                      steps(g.c_batch[d], bytes) && g.batch_shape[d] <= 65535;
    if (fits && (best < 0 || g.batch_shape[d] > g.batch_shape[best])) best = d;
  }
  return best;
}

GemmLayout layout_of(const GemmArgs& g) {
  if (g.a_transposed) return g.b_transposed ? GemmLayout::kMK : GemmLayout::kMN;
  return g.b_transposed ? GemmLayout::kKK : GemmLayout::kKN;
}

GemmProblem problem_of(const GemmArgs& g) {
  GemmProblem p{};
  p.m = static_cast<int>(g.m), p.n = static_cast<int>(g.n), p.k = static_cast<int>(g.k);
  p.batch = 1;
  p.a = g.a, p.b = g.b, p.c = g.c;
  p.bias = g.bias;
  p.before = g.pre_activation;
  p.lda = g.lda, p.ldb = g.ldb, p.ldc = g.ldc;
  p.alpha = static_cast<float>(g.alpha), p.beta = static_cast<float>(g.beta);
  return p;
}

const void* offset(const void* p, int64_t elements, DType dtype) {
  return static_cast<const char*>(p) + elements * static_cast<int64_t>(dtype_bytes(dtype));
}

// gelu(A·B + bias) of one matrix. False: nothing was done.
bool menu_gelu(const GemmArgs& g, Stream& stream) {
  if (g.beta != 0 || g.batch_dims != 0) return false;
  GemmKind kind{g.dtype, layout_of(g), GemmEpilogue::kGelu};
  GemmProblem p = problem_of(g);
  GemmChoice choice = choose_gemm(kind, p, stream);
  if (choice.kernel) {
    launch_gemm(choice, p, stream);
    return true;
  }
  // No kernel of this layout has the activation: it follows in a launch of its own.
  kind.epilogue = GemmEpilogue::kLinear;
  if (p.before) p.c = p.before;
  p.before = nullptr;
  choice = choose_gemm(kind, p, stream);
  if (!choice.kernel) return false;
  launch_gemm(choice, p, stream);
  gelu_rows(p.c, g.c, g.m, g.n, g.ldc, g.dtype, static_cast<cudaStream_t>(stream.handle()));
  return true;
}

// alpha·A·B + beta·C + bias over any batch: one launch takes one dimension of it.
bool menu_linear(const GemmArgs& g, Stream& stream) {
  const int inner = launch_dimension(g);
  const auto bytes = static_cast<int64_t>(dtype_bytes(g.dtype));
  int64_t launches = 1;
  for (int d = 0; d < g.batch_dims; ++d) {
    if (d == inner) continue;
    launches *= g.batch_shape[d];
    if ((g.a_batch[d] | g.b_batch[d] | g.c_batch[d]) * bytes % kAlignBytes != 0) return false;
  }
  if (launches > kMostLaunches) return false;

  const GemmKind kind{g.dtype, layout_of(g), GemmEpilogue::kLinear};
  GemmProblem p = problem_of(g);
  if (inner >= 0) {
    p.batch = static_cast<int>(g.batch_shape[inner]);
    p.a_batch = g.a_batch[inner], p.b_batch = g.b_batch[inner], p.c_batch = g.c_batch[inner];
  }
  for (int64_t i = 0; i < launches; ++i) {
    int64_t a = 0, b = 0, c = 0, rest = i;
    for (int d = 0; d < g.batch_dims; ++d) {
      if (d == inner) continue;
      const int64_t at = rest % g.batch_shape[d];
      rest /= g.batch_shape[d];
      a += at * g.a_batch[d], b += at * g.b_batch[d], c += at * g.c_batch[d];
    }
    p.a = offset(g.a, a, g.dtype);
    p.b = offset(g.b, b, g.dtype);
    p.c = const_cast<void*>(offset(g.c, c, g.dtype));
    const GemmChoice choice = choose_gemm(kind, p, stream);
    if (!choice.kernel) return false;  // at i = 0 or never
    launch_gemm(choice, p, stream);
  }
  return true;
}

/// WEFT_GEMM_MENU=0 leaves every product to the plain kernel: for initcheck, which does not see
/// what the menu's kernels store through TMA.
bool menu_wanted() {
  static const bool wanted = [] {
    const char* value = std::getenv("WEFT_GEMM_MENU");
    return value == nullptr || std::strcmp(value, "0") != 0;
  }();
  return wanted;
}

bool menu(const GemmArgs& g, Stream& stream) {
  if (!menu_wanted() || !menu_reads(g)) return false;
  if (g.activation == Activation::kGelu) return menu_gelu(g, stream);
  if (g.pre_activation != nullptr) return false;
  return menu_linear(g, stream);
}

}  // namespace

void set_tf32(bool on) { set_tf32_allowed(on); }
bool tf32() { return tf32_allowed(); }

void gemm(const GemmArgs& args, Stream& stream) {
  if (args.m == 0 || args.n == 0) return;
  for (int d = 0; d < args.batch_dims; ++d)
    if (args.batch_shape[d] == 0) return;
  if (!is_floating(args.dtype) && args.activation != Activation::kNone)
    fail(ErrorCode::kDtype, "matmul: a fused GELU needs a floating dtype, not %s",
         dtype_name(args.dtype));
  fabric::cuda::use_device(stream.device().ordinal());
  GemmArgs g = args;
  fold_batch(g);
  if (!menu(g, stream)) gemm_simt(g, stream);
}

}  // namespace weft::cuda
