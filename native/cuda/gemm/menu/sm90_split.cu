// Hopper, bf16 and f16, tile 64x128 with k shared among blocks: for gᵀ·x of small layers.
#include "cuda/gemm/split_tile.cuh"

namespace weft::cuda {
namespace {

template <typename T>
constexpr GemmKernel row(const char* name, fabric::DType dtype) {
  return {
      {name, dtype, GemmLayout::kMN, GemmEpilogue::kLinear, split::kRows, split::kColumns, true, 2},
      split::workspace,
      split::launch<T>};
}

}  // namespace

GemmKernels sm90_split() {
  static constexpr GemmKernel rows[] = {row<BF16>("sm90_bf16_split_mn", fabric::DType::kBF16),
                                        row<F16>("sm90_f16_split_mn", fabric::DType::kF16)};
  return {rows, 2};
}

}  // namespace weft::cuda
