// Hopper, bf16, tile 64x256x64 over clusters of two, two tiles in turns, which hides the epilogue
// where k is small.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm90, cute::Shape<cute::_64, cute::_256, cute::_64>,
                          cute::Shape<cute::_2, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecializedPingpong,
                          cutlass::epilogue::TmaWarpSpecialized, false>;
constexpr auto kType = fabric::DType::kBF16;

}  // namespace

WEFT_GEMM_FILE_OF(sm90_bf16_64x256,
                  WEFT_GEMM_ROWS(sm90_bf16_64x256, Recipe, cutlass::bfloat16_t, kType))

}  // namespace weft::cuda
