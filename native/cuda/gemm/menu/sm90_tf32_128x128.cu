// Hopper, TF32, tile 128x128x32 over clusters of two; may share k among blocks. Where neither
// operand is dense along k, B is transposed on its way through shared memory, which needs
// registers: that layout takes a tile of half the width. It is the one kernel of the menu that
// spills (136 bytes): its loading warp, left 40 registers, issues many small copies a stage. The
// warps that multiply spill nothing.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

template <class Columns>
using RecipeOf = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_128, Columns, cute::_32>,
                            cute::Shape<cute::_2, cute::_1, cute::_1>,
                            cutlass::gemm::KernelTmaWarpSpecializedCooperative,
                            cutlass::epilogue::TmaWarpSpecializedCooperative, true>;
using Recipe = RecipeOf<cute::_128>;
using Narrow = RecipeOf<cute::_64>;
constexpr auto kType = fabric::DType::kF32;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_tf32_128x128,
                  WEFT_GEMM_ROW(sm90_tf32_128x128, Recipe, float, kType, kKK, kLinear, "_kk"),
                  WEFT_GEMM_ROW(sm90_tf32_128x128, Recipe, float, kType, kKN, kLinear, "_kn"),
                  WEFT_GEMM_ROW(sm90_tf32_128x64, Narrow, float, kType, kMN, kLinear, "_mn"),
                  WEFT_GEMM_ROW(sm90_tf32_128x128, Recipe, float, kType, kMK, kLinear, "_mk"),
                  WEFT_GEMM_ROW(sm90_tf32_128x128, Recipe, float, kType, kKK, kGelu, "_kk_gelu"))

}  // namespace weft::cuda
