// The empty kernel of launch_probe.h.
#include "cuda/launch.h"
#include "cuda/launch_probe.h"

namespace weft::cuda {
namespace {

__global__ void empty_kernel() {}

}  // namespace

void launch_empty(Stream& stream) {
  empty_kernel<<<1, 64, 0, enter(stream)>>>();
  check_launch("the empty kernel");
}

}  // namespace weft::cuda
