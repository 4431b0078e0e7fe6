// Blackwell, f16, tile 256x256x64 made by two SMs together: for large products.
#include "cuda/gemm/tile.h"

namespace weft::cuda {
namespace {

using Recipe = TileRecipe<cutlass::arch::Sm100, cute::Shape<cute::_256, cute::_256, cute::_64>,
                          cute::Shape<cute::_2, cute::_1, cute::_1>,
                          cutlass::gemm::KernelTmaWarpSpecialized2SmSm100,
                          cutlass::epilogue::TmaWarpSpecialized2Sm, false>;
constexpr auto kType = fabric::DType::kF16;

}  // namespace

WEFT_GEMM_FILE_OF(sm100_f16_256x256,
                  WEFT_GEMM_ROWS(sm100_f16_256x256, Recipe, cutlass::half_t, kType))

}  // namespace weft::cuda
