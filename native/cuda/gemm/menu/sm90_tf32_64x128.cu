// Hopper, TF32, tile 64x128x32, two tiles in turns, which hides the epilogue where k is small. Not
// for products without an operand dense along k (see sm90_tf32_128x128.cu).
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_64, cute::_128, cute::_32>,
                          cute::Shape<cute::_1, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecializedPingpong,
                          cutlass::epilogue::TmaWarpSpecialized, false>;
constexpr auto kType = fabric::DType::kF32;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_tf32_64x128,
                  WEFT_GEMM_ROW(sm90_tf32_64x128, Recipe, float, kType, kKK, kLinear, "_kk"),
                  WEFT_GEMM_ROW(sm90_tf32_64x128, Recipe, float, kType, kKN, kLinear, "_kn"),
                  WEFT_GEMM_ROW(sm90_tf32_64x128, Recipe, float, kType, kKK, kGelu, "_kk_gelu"))

}  // namespace weft::cuda
