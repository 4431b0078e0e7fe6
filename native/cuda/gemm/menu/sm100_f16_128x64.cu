// Blackwell, f16, tile 128x64x64 on one SM: for small products and, as it may share k among
// blocks, for deep ones. It alone takes both operands transposed.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm100, cute::Shape<cute::_128, cute::_64, cute::_64>,
                          cute::Shape<cute::_1, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecialized1SmSm100,
                          cutlass::epilogue::TmaWarpSpecialized1Sm, true>;
constexpr auto kType = fabric::DType::kF16;

}  // namespace

WEFT_GEMM_FILE_OF(sm100_f16_128x64,
                  WEFT_GEMM_ROWS(sm100_f16_128x64, Recipe, cutlass::half_t, kType),
                  WEFT_GEMM_ROW(sm100_f16_128x64, Recipe, cutlass::half_t, kType, kMK, kLinear,
                                "_mk"))

}  // namespace weft::cuda
