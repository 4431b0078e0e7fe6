// The generators: one seed and offset a device, behind a mutex of its own.
#include "random/generator.h"

#include <array>
#include <mutex>
#include <utility>

#include "random/draw_log.h"

namespace weft {
namespace {

struct Generator {
  std::mutex mutex;  // guards the rest
  GeneratorState state{0, 0};
  bool seeded = false;
  const uint64_t* live = nullptr;  // of a capture, for the streams in it
  uint64_t captured = 0;           // counters drawn in it
};
Generator& generator(const Device& device) {
  static auto* table = new std::array<Generator, 256>();
  return (*table)[device.index() % 256];
}
/// Until somebody seeds: a fixed seed a device, so that programs repeat by default.
void start(Generator& g, const Device& device) {
  if (g.seeded) return;
  g.state = {0x9E3779B97F4A7C15ull + device.index(), 0};
  g.seeded = true;
}

thread_local DrawLog* t_draws = nullptr;

/// The draw that was noted at this place; UsageError when it was another one.
RandomRange draw_again(DrawLog& log, int64_t count) {
  if (log.next >= log.draws.size() || log.draws[log.next].count != count) {
    fail(ErrorCode::kUsage,
         "a function that runs again drew other random numbers than before: it must draw the same "
         "shapes in the same order");
  }
  return log.draws[log.next++].range;
}

RandomRange take_new(const Stream& stream, int64_t count) {
  const Device& device = stream.device();
  const bool captured = stream.capturing();
  Generator& g = generator(device);
  std::lock_guard<std::mutex> guard(g.mutex);
  const auto counters = static_cast<uint64_t>((count + 3) / 4);
  if (captured && g.live != nullptr) {
    RandomRange range{0, g.captured, g.live};
    g.captured += counters;
    return range;
  }
  start(g, device);
  RandomRange range{g.state.seed, g.state.offset};
  g.state.offset += counters;
  return range;
}

}  // namespace

RandomRange take_random(const Stream& stream, int64_t count) {
  if (t_draws == nullptr) return take_new(stream, count);
  if (t_draws->replay) return draw_again(*t_draws, count);
  const RandomRange range = take_new(stream, count);
  t_draws->draws.push_back({range, count});
  return range;
}

DrawLog* set_draw_log(DrawLog* log) { return std::exchange(t_draws, log); }

void seed_device(const Device& device, uint64_t seed) { set_generator_state(device, {seed, 0}); }

GeneratorState generator_state(const Device& device) {
  Generator& g = generator(device);
  std::lock_guard<std::mutex> guard(g.mutex);
  start(g, device);
  return g.state;
}

void set_generator_state(const Device& device, GeneratorState state) {
  Generator& g = generator(device);
  std::lock_guard<std::mutex> guard(g.mutex);
  g.state = state;
  g.seeded = true;
}

void begin_captured_draws(const Device& device, const uint64_t* live) {
  Generator& g = generator(device);
  std::lock_guard<std::mutex> guard(g.mutex);
  g.live = live;
  g.captured = 0;
}

uint64_t end_captured_draws(const Device& device) {
  Generator& g = generator(device);
  std::lock_guard<std::mutex> guard(g.mutex);
  g.live = nullptr;
  return g.captured;
}

GeneratorState take_counters(const Device& device, uint64_t counters) {
  Generator& g = generator(device);
  std::lock_guard<std::mutex> guard(g.mutex);
  start(g, device);
  GeneratorState first = g.state;
  g.state.offset += counters;
  return first;
}

}  // namespace weft
