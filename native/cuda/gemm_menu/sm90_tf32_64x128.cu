// Hopper, TF32, tile 64x128x32, clusters of 1: two small tiles in turns, for
// products with few rows.
#include "cuda/gemm_tile.h"

namespace weft::cuda {
namespace {

using Recipe =
    TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_64, cute::_128, cute::_32>,
               cute::Shape<cute::_1, cute::_1, cute::_1>,
               cutlass::gemm::KernelTmaWarpSpecializedPingpong,
               cutlass::epilogue::TmaWarpSpecialized, false>;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_tf32_64x128,
                  WEFT_GEMM_ROWS(sm90_tf32_64x128, Recipe, float, fabric::DType::kF32))

}  // namespace weft::cuda
