// The random generator of a device: a seed and a running offset into Philox's sequence. Owned by
// the process, one a device; operators take a range of it when they enqueue.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace weft {

struct RandomRange {
  uint64_t seed;
  uint64_t offset;  ///< first counter; the draw owns ceil(count / 4) counters
};

/// Reserves numbers for `count` elements on `device`. Thread safe.
RandomRange take_random(const Device& device, int64_t count);
/// Same seed, same numbers: sets the seed of `device` and its offset to 0.
void seed_device(const Device& device, uint64_t seed);
struct GeneratorState {
  uint64_t seed, offset;
};
GeneratorState generator_state(const Device& device);
void set_generator_state(const Device& device, GeneratorState state);

}  // namespace weft
