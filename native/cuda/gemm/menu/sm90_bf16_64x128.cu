// Hopper, bf16, tile 64x128x64, two tiles in turns: for products with few rows.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_64, cute::_128, cute::_64>,
                          cute::Shape<cute::_1, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecializedPingpong,
                          cutlass::epilogue::TmaWarpSpecialized, false>;
constexpr auto kType = fabric::DType::kBF16;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_bf16_64x128,
                  WEFT_GEMM_ROWS(sm90_bf16_64x128, Recipe, cutlass::bfloat16_t, kType))

}  // namespace weft::cuda
