// Fills the CUDA driver's kernel table. Compiled in builds with device code only (WEFT_HAVE_CUDA).
#include "cuda/register.h"

#include "core/async_error.h"
#include "cuda/device_error.h"
#include "cuda/gemm/choice.h"
#include "cuda/kernel_list.h"

namespace weft {

void register_cuda_kernels() {
  KernelTable table{};
  table.unary = cuda::unary;
  table.binary = cuda::binary;
  table.ternary = cuda::ternary;
  table.fill = cuda::fill;
  table.cast = cuda::cast;
  table.range = cuda::range;
  table.random = cuda::random;
  table.reduce = cuda::reduce;
  table.gemm = cuda::gemm;
  table.softmax_forward = cuda::softmax_forward;
  table.softmax_backward = cuda::softmax_backward;
  table.cross_entropy_forward = cuda::cross_entropy_forward;
  table.cross_entropy_backward = cuda::cross_entropy_backward;
  table.norm_forward = cuda::norm_forward;
  table.norm_backward = cuda::norm_backward;
  table.embedding_forward = cuda::embedding_forward;
  table.embedding_backward = cuda::embedding_backward;
  table.gather_forward = cuda::gather_forward;
  table.gather_backward = cuda::gather_backward;
  table.attention_forward = cuda::attention_forward;
  table.attention_backward = cuda::attention_backward;
  table.rotary = cuda::rotary;
  table.cast_list = cuda::cast_list;
  table.sgd = cuda::sgd;
  table.adamw = cuda::adamw;
  table.grad_norm = cuda::grad_norm;
  table.grad_clip = cuda::grad_clip;
  table.amp_unscale = cuda::amp_unscale;
  table.amp_update = cuda::amp_update;
  table.store = cuda::store;
  register_kernels(fabric::DriverKind::kCuda, table);
  register_gemm_menu(cuda::built_gemm_menu());
  set_async_error_source(cuda::poll_device_error);
}

}  // namespace weft
