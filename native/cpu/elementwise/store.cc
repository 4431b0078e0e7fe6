// store on the host driver: a few words of the call into device memory, in stream order. Called
// through the kernel table before each replay of a captured step.
#include <algorithm>
#include <array>

#include "cpu/register.h"
#include "fabric/host_queue.h"

namespace weft::cpu {

void store(uint64_t* dst, const uint64_t* words, int count, Stream& stream) {
  std::array<uint64_t, kStoreWords> copy{};
  std::copy_n(words, count, copy.begin());
  fabric::host::enqueue(stream.handle(),
                        [dst, copy, count] { std::copy_n(copy.begin(), count, dst); });
}

}  // namespace weft::cpu
