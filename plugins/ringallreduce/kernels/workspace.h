// Layout of a rank's workspace, for host and device. Every part belongs to one wire format: stale
// bytes of another format could pass for an epoch. All offsets are multiples of 512.
//
//   header | words [bank][source][packet of 16] | lines [bank][source][step of 1024]
//          | contribution flags [source][slot] | result flags [source][slot]      (128 bytes each)
//          | ring counters: arrived [cta], credit [cta], done [source][cta]         (128 bytes each)
//          | chunks [source][slot][chunk] | tiles [cta][window][tile]
//
// A word or line belongs to the bank of its epoch's parity. A rank may write bank e&1 for epoch e+2
// because its own call e+1 is over: that needed data which every rank, itself or through another,
// sends only in its call e+1, hence after its call e, which read the bank.
// Chunk slots have one bank: a slot is written again only after the result of the chunk before, which
// its reader sends after reading; a call waits for all results before it ends. Ring: see ring.cu.
#pragma once

#include <cstdint>

#include "launch.h"

#ifdef __CUDACC__
#define RINGALLREDUCE_BOTH __host__ __device__ __forceinline__
#else
#define RINGALLREDUCE_BOTH inline
#endif

namespace ringallreduce {

constexpr uint64_t kStepBytes = 960;       // payload of a warp's step: 4 groups * 240
constexpr uint64_t kStepLineBytes = 1024;  // the same in lines
constexpr uint64_t kFlagBytes = 128;

struct Header {
  uint32_t epoch;    // of the last call; 0 before the first
  uint32_t arrived;  // CTAs of the running call that are done
  uint32_t claimed;  // 1: someone writes the control record
  uint32_t reserved;
  uint64_t sequence;  // chunk flags up to this number are used
};

/// 0 stays the value of fresh memory, and the parity alternates through the wrap.
RINGALLREDUCE_BOTH uint32_t next_epoch(uint32_t epoch) {
  return epoch == 0xffffffffu ? 2u : epoch + 1u;
}

struct Layout {
  uint64_t words, words_source;  // start of the part; bytes of one source in one bank
  uint64_t lines, lines_source;
  uint64_t contribution_flags, result_flags;
  uint64_t arrived, credit, done;
  uint64_t chunks, tiles;
  uint64_t bytes;
};

RINGALLREDUCE_BOTH uint64_t round_up(uint64_t bytes, uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

RINGALLREDUCE_BOTH Layout layout_of(const Capacity& capacity, uint32_t ranks) {
  Layout at;
  at.words = 512;
  at.words_source = round_up(2 * capacity.words_bytes, 512);
  at.lines = at.words + 2 * ranks * at.words_source;
  at.lines_source = (capacity.lines_bytes + kStepBytes - 1) / kStepBytes * kStepLineBytes;
  at.contribution_flags = at.lines + 2 * ranks * at.lines_source;
  const uint64_t flags = round_up(uint64_t{ranks} * capacity.slots * kFlagBytes, 512);
  at.result_flags = at.contribution_flags + flags;
  at.arrived = at.result_flags + flags;
  at.credit = at.arrived + capacity.ring_ctas * kFlagBytes;
  at.done = at.credit + capacity.ring_ctas * kFlagBytes;
  at.chunks = round_up(at.done + ranks * capacity.ring_ctas * kFlagBytes, 512);
  at.tiles = at.chunks + round_up(uint64_t{ranks} * capacity.slots * capacity.chunk_bytes, 512);
  at.bytes = at.tiles + round_up(uint64_t{capacity.tiles} * capacity.tile_bytes, 512);
  return at;
}

}  // namespace ringallreduce
