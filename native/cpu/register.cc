// Fills the host driver's kernel table.
#include "cpu/register.h"

namespace weft {

void register_cpu_kernels() {
  KernelTable table{};
  table.unary = cpu::unary;
  table.binary = cpu::binary;
  table.ternary = cpu::ternary;
  table.fill = cpu::fill;
  table.cast = cpu::cast;
  table.range = cpu::range;
  table.random = cpu::random;
  table.reduce = cpu::reduce;
  table.gemm = cpu::gemm;
  table.softmax_forward = cpu::softmax_forward;
  table.softmax_backward = cpu::softmax_backward;
  table.cross_entropy_forward = cpu::cross_entropy_forward;
  table.cross_entropy_backward = cpu::cross_entropy_backward;
  table.norm_forward = cpu::norm_forward;
  table.norm_backward = cpu::norm_backward;
  table.embedding_forward = cpu::embedding_forward;
  table.embedding_backward = cpu::embedding_backward;
  table.gather_forward = cpu::gather_forward;
  table.gather_backward = cpu::gather_backward;
  table.attention_forward = cpu::attention_forward;
  table.attention_backward = cpu::attention_backward;
  table.rotary = cpu::rotary;
  table.cast_list = cpu::cast_list;
  table.sgd = cpu::sgd;
  table.adamw = cpu::adamw;
  table.grad_norm = cpu::grad_norm;
  table.grad_clip = cpu::grad_clip;
  table.amp_unscale = cpu::amp_unscale;
  table.amp_update = cpu::amp_update;
  table.store = cpu::store;
  register_kernels(fabric::DriverKind::kHost, table);
}

}  // namespace weft
