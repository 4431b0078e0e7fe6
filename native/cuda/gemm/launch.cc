// The menu of this build and the launch of what was chosen from it. register.cc registers the menu;
// gemm.cc and the measurement of choice.cc launch.
#include "cuda/gemm/choice.h"
#include "fabric/allocator.h"
#include "fabric/cuda_launch.h"

namespace weft::cuda {
namespace {

using GemmFile = GemmKernels (*)();
constexpr GemmFile kFiles[] = {
#define WEFT_GEMM_FILE(name) name,
#include "cuda/gemm/menu.def"
#undef WEFT_GEMM_FILE
    nullptr,  // a build without device code for the menu has no other entry
};

}  // namespace

std::vector<const GemmRow*> built_gemm_menu() {
  std::vector<const GemmRow*> rows;
  for (GemmFile file : kFiles) {
    if (file == nullptr) break;
    for (const GemmKernel& kernel : file()) rows.push_back(&kernel);
  }
  return rows;
}

void launch_gemm(const GemmChoice& choice, const GemmProblem& p, Stream& stream) {
  Device& device = stream.device();
  const int ordinal = device.ordinal();
  const GemmSetting setting{ordinal, fabric::cuda::multiprocessors(ordinal), choice.splits,
                            choice.swizzle};
  // Every row of the process's menu is one of built_gemm_menu().
  const auto& kernel = static_cast<const GemmKernel&>(*choice.kernel);
  fabric::Block* block = nullptr;
  // Kernels that never split need none, and asking costs.
  if (kernel.can_split) {
    const size_t bytes = kernel.workspace(p, setting);
    if (bytes > 0) block = device.allocator().allocate(bytes, stream);
  }
  const cudaError_t status = kernel.launch(p, setting, block ? block->ptr : nullptr,
                                           static_cast<cudaStream_t>(stream.handle()));
  if (block) device.allocator().free(block);  // stream-ordered: the kernel may still use it
  fabric::cuda::check(status, kernel.name);
}

}  // namespace weft::cuda
