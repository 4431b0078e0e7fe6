// Blackwell, TF32, tile 128x64x32 on one SM; may share k among blocks.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm100, cute::Shape<cute::_128, cute::_64, cute::_32>,
                          cute::Shape<cute::_1, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecialized1SmSm100,
                          cutlass::epilogue::TmaWarpSpecialized1Sm, true>;
constexpr auto kType = fabric::DType::kF32;

}  // namespace

WEFT_GEMM_FILE_OF(sm100_tf32_128x64, WEFT_GEMM_ROWS(sm100_tf32_128x64, Recipe, float, kType),
                  WEFT_GEMM_ROW(sm100_tf32_128x64, Recipe, float, kType, kMK, kLinear, "_mk"))

}  // namespace weft::cuda
