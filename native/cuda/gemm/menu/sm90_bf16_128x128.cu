// Hopper, bf16, tile 128x128x64 over clusters of two: for small products and, as it may share k
// among blocks, for deep ones. It alone takes both operands transposed.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_128, cute::_128, cute::_64>,
                          cute::Shape<cute::_2, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecializedCooperative,
                          cutlass::epilogue::TmaWarpSpecializedCooperative, true>;
constexpr auto kType = fabric::DType::kBF16;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_bf16_128x128,
                  WEFT_GEMM_ROWS(sm90_bf16_128x128, Recipe, cutlass::bfloat16_t, kType),
                  WEFT_GEMM_ROW(sm90_bf16_128x128, Recipe, cutlass::bfloat16_t, kType, kMK, kLinear,
                                "_mk"))

}  // namespace weft::cuda
