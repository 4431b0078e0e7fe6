// The matrix product on CUDA devices: entry point, its paths and the TF32 switch. gemm.cc chooses
// between the tensor-core menu (kernel_menu.h) and the plain kernel; register.cc puts gemm() in the
// kernel table.
#pragma once

#include "dispatch/kernels.h"

namespace weft::cuda {

/// Whether f32 products and attention may round their inputs to TF32 (10 bits of mantissa). Process
/// wide, on at start. Off: f32 is multiplied exactly as f32, an order of magnitude slower.
void set_tf32(bool on);
bool tf32();

void gemm(const GemmArgs& args, Stream& stream);

/// Any dtype, layout, alignment and batch, without tensor cores.
void gemm_simt(const GemmArgs& args, Stream& stream);

}  // namespace weft::cuda
