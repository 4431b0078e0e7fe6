// The random generator of a device: a seed and a running offset into Philox's sequence. Owned by
// the process, one a device; operators take a range of it when they enqueue. On a stream that is
// being captured, ranges are counted from the start of the step, and the kernels add what lies in
// device memory when they run: each replay writes a fresh piece of the sequence there. Other streams
// of the device draw from the generator meanwhile.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace weft {

struct RandomRange {
  uint64_t seed;
  uint64_t offset;                 ///< first counter; the draw owns ceil(count / 4) counters
  const uint64_t* live = nullptr;  ///< {seed, offset} in device memory, in a captured step
};

/// Reserves numbers for `count` elements of work on `stream`. Thread safe.
RandomRange take_random(const Stream& stream, int64_t count);
/// Same seed, same numbers: sets the seed of `device` and its offset to 0.
void seed_device(const Device& device, uint64_t seed);
struct GeneratorState {
  uint64_t seed, offset;
};
GeneratorState generator_state(const Device& device);
void set_generator_state(const Device& device, GeneratorState state);

/// From now on draws on the device's captured streams refer to `live` in device memory and leave
/// the generator alone.
void begin_captured_draws(const Device& device, const uint64_t* live);
/// Ends that; returns the counters that one run of the captured step draws.
uint64_t end_captured_draws(const Device& device);
/// Reserves `counters` for one run; returns where they begin.
GeneratorState take_counters(const Device& device, uint64_t counters);

}  // namespace weft
