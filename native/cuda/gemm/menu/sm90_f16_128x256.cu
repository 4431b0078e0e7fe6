// Hopper, f16, tile 128x256x64 over clusters of two, two warpgroups to a tile: for large products.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_128, cute::_256, cute::_64>,
                          cute::Shape<cute::_2, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecializedCooperative,
                          cutlass::epilogue::TmaWarpSpecializedCooperative, false>;
constexpr auto kType = fabric::DType::kF16;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_f16_128x256,
                  WEFT_GEMM_ROWS(sm90_f16_128x256, Recipe, cutlass::half_t, kType))

}  // namespace weft::cuda
