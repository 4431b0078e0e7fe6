// See shape.h.
#include "shape.h"

#include <algorithm>

#include "kernels/workspace.h"

namespace ringallreduce {
namespace {

constexpr uint64_t kWords = 64u << 10;        // one-shot: words up to here
constexpr uint64_t kLinesTwo = 16u << 20;     // one-shot of two ranks: lines up to here
constexpr uint64_t kLinesMore = 1u << 20;     // of more ranks, whose inboxes take all payloads
constexpr uint64_t kTwoshotLines = 2u << 20;  // two-shot: lines up to here
constexpr uint32_t kChunk = 64u << 10;
constexpr uint32_t kWindow = 2;
constexpr uint32_t kRingCtas = 16;
constexpr uint32_t kTile = 16u << 10;
constexpr uint32_t kStages = 8;
constexpr uint32_t kLineBytesOfThread = 30;  // 240 bytes by 8 threads

uint32_t blocks(uint64_t bytes, uint64_t each, uint32_t most) {
  return static_cast<uint32_t>(std::clamp<uint64_t>((bytes + each - 1) / each, 1, most));
}

/// A hop takes as long as some 32 tiles of a CTA; between a tile's steps lie lag tiles of every step.
uint32_t ring_lag(uint32_t ranks) { return 32 / ranks; }

}  // namespace

uint64_t oneshot_limit(uint32_t ranks) { return ranks == 2 ? kLinesTwo : kLinesMore; }

Capacity oneshot_capacity(uint32_t ranks) { return {kWords, oneshot_limit(ranks), 1, 128}; }

Capacity twoshot_capacity(uint32_t ranks, uint32_t multiprocessors) {
  // A two-shot of lines uses 2 * ceil(steps / ranks) steps of the inbox.
  return {512, 2 * (kTwoshotLines / ranks + 4096), multiprocessors * kWindow, kChunk};
}

Capacity ring_capacity(uint32_t ranks, uint32_t multiprocessors) {
  Capacity capacity = {512, kStepBytes, 1, 128};
  capacity.ring_ctas = std::min(multiprocessors, kRingCtas);
  capacity.tiles = capacity.ring_ctas * least_window(ranks, ring_lag(ranks));
  capacity.tile_bytes = kTile;
  return capacity;
}

void shape_oneshot(Args& args, uint64_t bytes, uint32_t multiprocessors) {
  args.capacity = oneshot_capacity(args.ranks);
  args.chunk_bytes = 128;
  args.window = 1;
  if (bytes <= kWords) {
    args.format = Format::kWords;
    args.threads = 128;
    args.ctas = blocks(bytes, 1024, std::min(multiprocessors, 64u));
    return;
  }
  args.format = Format::kLines;
  args.threads = std::min(bytes <= 384u << 10 ? 256u
                          : bytes <= 2u << 20 ? 512u
                                              : 1024u,
                          most_threads(args));
  args.ctas =
      blocks(bytes, uint64_t{args.threads} * kLineBytesOfThread, std::min(multiprocessors, 128u));
}

void shape_twoshot(Args& args, uint64_t bytes, uint32_t multiprocessors) {
  args.capacity = twoshot_capacity(args.ranks, multiprocessors);
  args.chunk_bytes = kChunk;
  args.window = kWindow;
  if (bytes <= kTwoshotLines && args.kind == Kind::kAllReduce) {
    args.format = Format::kLines;
    args.threads = 256;
    args.ctas = blocks(bytes, 256 * kLineBytesOfThread, std::min(multiprocessors, 128u));
    return;
  }
  args.format = Format::kChunks;
  args.threads = most_threads(args);
  args.ctas = multiprocessors;
  // Small payloads: chunks small enough that every CTA has some.
  const uint64_t slice = args.kind == Kind::kAllReduce ? bytes / args.ranks : bytes;
  while (args.chunk_bytes > 8192 && slice / args.ctas < 2 * uint64_t{args.chunk_bytes}) {
    args.chunk_bytes /= 2;
  }
}

void shape_ring(Args& args, uint64_t bytes, uint32_t multiprocessors) {
  args.capacity = ring_capacity(args.ranks, multiprocessors);
  args.format = Format::kTiles;
  args.threads = kRingThreads;
  args.chunk_bytes = kTile;
  args.window = least_window(args.ranks, ring_lag(args.ranks));
  args.stages = kStages;
  args.lag = ring_lag(args.ranks);
  args.ctas = blocks(bytes / args.ranks, kTile, args.capacity.ring_ctas);
}

}  // namespace ringallreduce
