// store on CUDA: a few words, in the kernel's arguments, into device memory. Called through the
// kernel table before each replay of a captured step; no staging memory has to stay alive for it.
#include <algorithm>

#include "cuda/kernel_list.h"
#include "cuda/launch.h"

namespace weft::cuda {
namespace {

struct StoredWords {
  uint64_t word[kStoreWords];
};

__global__ void __launch_bounds__(kStoreWords)
    store_kernel(uint64_t* dst, const __grid_constant__ StoredWords words, int count) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < count) dst[i] = words.word[i];
}

}  // namespace

void store(uint64_t* dst, const uint64_t* words, int count, Stream& stream) {
  StoredWords stored{};
  std::copy_n(words, count, stored.word);
  store_kernel<<<1, kStoreWords, 0, enter(stream)>>>(dst, stored, count);
  check_launch("store");
}

}  // namespace weft::cuda
