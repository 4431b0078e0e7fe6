// A long random run of the allocator over several streams of one device, on any driver. Shared by
// allocator_fuzz_test.cc (host) and test/cuda/allocator_check.cc (a program for a GPU).
//
// What is checked: live blocks never overlap (by address, at every allocation) and nobody else
// writes into them (by bytes: whoever last used a block fills windows of it with the block's mark,
// on its own stream, and a sample is copied out right before free()). A copy runs long after the
// host has freed its block, so a block that is handed out too early shows as wrong bytes. At the
// end everything must have come back: no live or pending byte, one free block a segment.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "fabric/allocator.h"
#include "fabric/error.h"
#include "fabric/fabric.h"

namespace fabric::test {

struct TraceOptions {
  int64_t operations = 1'000'000;  ///< allocations and frees
  int streams = 4;
  size_t most_blocks = 600;
  size_t most_bytes = size_t{256} << 20;  ///< live at once
  int largest_shift = 23;                 ///< sizes are log-uniform below 2^shift
  uint64_t seed = 1234;
};

struct TraceResult {
  int64_t allocations = 0, frees = 0;
  int64_t uses = 0;      ///< blocks written by another stream than their own
  int64_t verified = 0;  ///< blocks whose bytes were read back
  int64_t wrong = 0;     ///< of those, how many held somebody else's bytes
  int64_t refused = 0;   ///< allocations that a limit ended with OutOfMemoryError
  double seconds = 0;
  AllocatorStats stats;  ///< before the last release
  // Shares of the reserved bytes, over samples with at least half of most_bytes live.
  double idle = 0;                 ///< mean: free, in whatever segment
  double fragmentation = 0;        ///< mean: free, but beside held blocks: cannot be given back
  double fragmentation_worst = 0;  ///< the most of it
  std::string failure;             ///< "" when all promises were kept
};

class AllocatorTrace {
 public:
  AllocatorTrace(Device& device, const TraceOptions& options)
      : device_(device), options_(options), random_(options.seed) {
    for (int i = 0; i < options.streams; ++i) streams_.push_back(&device.create_stream());
    staging_ = acquire_staging(device.driver(), kSlots * kWindow);
  }
  ~AllocatorTrace() { release_staging(staging_, nullptr); }
  AllocatorTrace(const AllocatorTrace&) = delete;
  AllocatorTrace& operator=(const AllocatorTrace&) = delete;

  TraceResult run() {
    const auto start = std::chrono::steady_clock::now();
    const int64_t release_every = options_.operations / 5 + 1;
    for (int64_t step = 0; count() < options_.operations && result_.failure.empty(); ++step) {
      const uint64_t dice = random_() % 100;
      const bool room = live_.size() < options_.most_blocks && bytes_ < options_.most_bytes;
      if (live_.empty() || (dice < 50 && room)) {
        allocate();
      } else if (dice < 60) {
        use(live_[random_() % live_.size()]);
      } else {
        free(random_() % live_.size());
      }
      if (step % release_every == release_every - 1) allocator().release_cached();
      // The host runs ahead of its streams by so much, as it does within a training step.
      if (step % kRunAhead == kRunAhead - 1) {
        for (Stream* stream : streams_) stream->synchronize();
        allocator().process_events();
        sample();
      }
    }
    while (!live_.empty()) free(live_.size() - 1);
    finish();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    result_.seconds = spent.count();
    result_.idle /= std::max(1, samples_);
    result_.fragmentation /= std::max(1, samples_);
    return result_;
  }

 private:
  static constexpr int64_t kRunAhead = 500;
  static constexpr size_t kWindow = 2048;  // bytes that are written and read back at a time
  static constexpr size_t kSlots = 8192;
  static constexpr size_t kWhole = 32 << 10;  // blocks up to here are written whole

  struct Held {
    Block* block;
    Stream* last;  // where its bytes were written last
    int mark;
  };

  Allocator& allocator() { return device_.allocator(); }
  int64_t count() const { return result_.allocations + result_.frees; }
  void fail_with(const std::string& what) {
    if (result_.failure.empty())
      result_.failure = what + " (operation " + std::to_string(count()) + ")";
  }

  /// The parts of a block that are written: all of a small one, else head, middle and tail.
  std::vector<std::pair<size_t, size_t>> windows(const Block& block) const {
    const size_t bytes = block.requested;
    if (bytes <= kWhole) return {{0, bytes}};
    return {{0, kWindow}, {bytes / 2, kWindow}, {bytes - kWindow, kWindow}};
  }

  void write(Held& held, Stream& stream) {
    held.mark = static_cast<int>(++marks_ % 255) + 1;
    held.last = &stream;
    for (auto [at, bytes] : windows(*held.block)) {
      device_.driver().fill(static_cast<char*>(held.block->ptr) + at, device_.ordinal(), held.mark,
                            bytes, stream.handle());
    }
  }

  void allocate() {
    const auto shift = static_cast<int>(random_() % static_cast<uint64_t>(options_.largest_shift));
    const size_t bytes = 1 + random_() % (size_t{2} << shift);
    Held held{nullptr, nullptr, 0};
    try {
      held.block = allocator().allocate(bytes, *streams_[random_() % streams_.size()]);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kOutOfMemory) throw;
      ++result_.refused;  // what is held may be too much, or too scattered: go on with less
      for (size_t keep = live_.size() / 2; live_.size() > keep;) free(random_() % live_.size());
      return;
    }
    ++result_.allocations;
    const auto begin = reinterpret_cast<uintptr_t>(held.block->ptr);
    auto next = by_address_.lower_bound(begin);
    if (next != by_address_.end() && next->first < begin + held.block->bytes)
      fail_with("a block overlaps the one behind it");
    if (next != by_address_.begin() && std::prev(next)->second > begin)
      fail_with("a block overlaps the one before it");
    if (held.block->bytes < bytes || begin % 512 != 0) fail_with("a block is short or not aligned");
    by_address_.emplace(begin, begin + held.block->bytes);
    bytes_ += bytes;
    write(held, *held.block->stream);
    live_.push_back(held);
  }

  /// Another stream goes on with the block: ordered behind the one before, told to the allocator.
  void use(Held& held) {
    Stream& stream = *streams_[random_() % streams_.size()];
    order_after(stream, *held.last);
    allocator().record_use(held.block, stream);
    write(held, stream);
    if (&stream != held.block->stream) ++result_.uses;
  }

  void free(size_t index) {
    Held held = live_[index];
    live_[index] = live_.back();
    live_.pop_back();
    if (random_() % 4 == 0) read_back(held);
    by_address_.erase(reinterpret_cast<uintptr_t>(held.block->ptr));
    bytes_ -= held.block->requested;
    allocator().free(held.block);
    ++result_.frees;
  }

  /// Copies one window out, on the stream that wrote it; compare() looks at it later.
  void read_back(const Held& held) {
    if (expected_.size() == kSlots) compare();
    const auto parts = windows(*held.block);
    const auto [at, bytes] = parts[random_() % parts.size()];
    const size_t length = std::min(bytes, kWindow);
    const size_t from = at + random_() % (bytes - length + 1);
    device_.driver().copy(static_cast<char*>(staging_.ptr) + expected_.size() * kWindow,
                          kHostMemory, static_cast<const char*>(held.block->ptr) + from,
                          device_.ordinal(), length, held.last->handle());
    expected_.push_back({held.mark, length});
  }

  void compare() {
    for (Stream* stream : streams_) stream->synchronize();
    for (size_t slot = 0; slot < expected_.size(); ++slot) {
      const auto [mark, length] = expected_[slot];
      const auto* data = static_cast<const unsigned char*>(staging_.ptr) + slot * kWindow;
      ++result_.verified;
      if (std::all_of(data, data + length, [m = mark](unsigned char c) { return c == m; }))
        continue;
      ++result_.wrong;
      fail_with("a block holds the bytes of another");
    }
    expected_.clear();
  }

  void sample() {
    const AllocatorStats s = allocator().stats();
    if (s.live_blocks != live_.size() || s.requested_bytes != bytes_)
      fail_with("the statistics differ from what is held");
    if (s.allocated_bytes + s.pending_bytes > s.reserved_bytes)
      fail_with("more bytes are held than reserved");
    if (bytes_ < options_.most_bytes / 2 || s.reserved_bytes == 0) return;
    uint64_t idle = 0, stuck = 0, reserved = 0;
    for (const SegmentInfo& segment : allocator().snapshot()) {
      uint64_t free = 0;
      for (const BlockInfo& block : segment.blocks) free += block.state == 0 ? block.bytes : 0;
      reserved += segment.bytes;
      idle += free;
      if (free != segment.bytes) stuck += free;
    }
    uint64_t pooled = 0;
    for (const PoolInfo& pool : allocator().pools()) pooled += pool.free_bytes;
    if (pooled != idle) fail_with("pools tell other free bytes than the blocks do");
    const double share = static_cast<double>(stuck) / static_cast<double>(reserved);
    result_.idle += static_cast<double>(idle) / static_cast<double>(reserved);
    result_.fragmentation += share;
    result_.fragmentation_worst = std::max(result_.fragmentation_worst, share);
    ++samples_;
  }

  void finish() {
    compare();
    allocator().process_events();
    result_.stats = allocator().stats();
    const AllocatorStats& s = result_.stats;
    if (s.live_blocks != 0 || s.allocated_bytes != 0 || s.requested_bytes != 0)
      fail_with("blocks were lost");
    if (s.pending_bytes != 0) fail_with("frees are still pending though all streams are done");
    for (const SegmentInfo& segment : allocator().snapshot())
      if (segment.blocks.size() != 1) fail_with("a free segment is not one block");
    if (allocator().release_cached() != s.reserved_bytes || allocator().stats().segments != 0)
      fail_with("cached memory did not go back to the driver");
  }

  Device& device_;
  TraceOptions options_;
  std::mt19937_64 random_;
  std::vector<Stream*> streams_;
  std::vector<Held> live_;
  std::map<uintptr_t, uintptr_t> by_address_;  // begin -> end of live blocks
  uint64_t bytes_ = 0, marks_ = 0;
  int samples_ = 0;
  StagingBuffer staging_;
  std::vector<std::pair<int, size_t>> expected_;  // mark and length of each slot in use
  TraceResult result_;
};

}  // namespace fabric::test
