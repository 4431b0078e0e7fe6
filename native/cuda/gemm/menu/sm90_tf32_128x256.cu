// Hopper, TF32, tile 128x256x32 over clusters of two, two warpgroups to a tile: for large products
// whose operands are dense along k. Other layouts pass an operand through registers, which this
// tile has none left for.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_128, cute::_256, cute::_32>,
                          cute::Shape<cute::_2, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecializedCooperative,
                          cutlass::epilogue::TmaWarpSpecializedCooperative, false>;
constexpr auto kType = fabric::DType::kF32;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_tf32_128x256,
                  WEFT_GEMM_ROW(sm90_tf32_128x256, Recipe, float, kType, kKK, kLinear, "_kk"),
                  WEFT_GEMM_ROW(sm90_tf32_128x256, Recipe, float, kType, kKK, kGelu, "_kk_gelu"))

}  // namespace weft::cuda
