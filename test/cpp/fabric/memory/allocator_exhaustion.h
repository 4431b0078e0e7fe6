// Memory that runs out, forced by a limit, and the cost of a cache hit; on any driver. Shared by
// allocator_fuzz_test.cc (host) and test/cuda/allocator_check.cc (a program for a GPU).
#pragma once

#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "fabric/allocator.h"
#include "fabric/error.h"
#include "fabric/fabric.h"

namespace fabric::test {

struct ExhaustionResult {
  std::string failure;  ///< "" when all promises were kept
  std::string message;  ///< of the error, when memory could not be recovered
  std::string account;  ///< its fields
};

/// With `unit` bytes a block and a limit of three: cached memory of another stream is released for
/// a request; held memory is not, and then the error carries the account and harms nobody.
inline ExhaustionResult force_exhaustion(Device& device, size_t unit) {
  Allocator& allocator = device.allocator();
  Stream& one = device.create_stream();
  Stream& other = device.create_stream();
  ExhaustionResult result;
  auto require = [&](bool kept, const char* what) {
    if (!kept && result.failure.empty()) result.failure = what;
  };
  allocator.release_cached();
  allocator.set_limit(allocator.stats().reserved_bytes + 3 * unit);
  const AllocatorStats before = allocator.stats();

  // Recovery: all three units are cached by one stream, another one asks for two.
  std::vector<Block*> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(allocator.allocate(unit, one));
  for (Block* block : blocks) allocator.free(block);
  Block* held = allocator.allocate(2 * unit, other);
  require(allocator.stats().retries > before.retries, "the reclaim ladder did not run");
  require(allocator.stats().out_of_memory == before.out_of_memory, "recovery counts as failure");

  // Failure: two of three units are held.
  device.driver().fill(held->ptr, device.ordinal(), 0x5a, unit, other.handle());
  try {
    allocator.free(allocator.allocate(2 * unit, one));
    require(false, "two units were given where one was left");
  } catch (const Error& error) {
    result.message = error.message();
    result.account = error.fields_json();
    require(error.code() == ErrorCode::kOutOfMemory, "the error is not OutOfMemoryError");
    require(error.message().find(device.name()) != std::string::npos, "the device is not named");
    for (const char* field :
         {"\"requested\":", "\"free\":", "\"cached\":", "\"limit\":", "\"holders\":[{\"bytes\":"}) {
      require(error.fields_json().find(field) != std::string::npos, "the account lacks a field");
    }
  }
  require(allocator.stats().out_of_memory == before.out_of_memory + 1,
          "the failure is not counted");
  StagingBuffer staging = acquire_staging(device.driver(), unit);
  device.driver().copy(staging.ptr, kHostMemory, held->ptr, device.ordinal(), unit, other.handle());
  other.synchronize();
  const auto* bytes = static_cast<const unsigned char*>(staging.ptr);
  require(bytes[0] == 0x5a && std::memcmp(bytes, bytes + 1, unit - 1) == 0, "held bytes changed");
  release_staging(staging, nullptr);

  // And once the holder lets go, the same request succeeds.
  allocator.free(held);
  Block* again = allocator.allocate(2 * unit, one);
  allocator.free(again);
  allocator.set_limit(0);
  one.synchronize();
  allocator.release_cached();
  require(allocator.stats().reserved_bytes + 3 * unit >= before.reserved_bytes, "memory was lost");
  return result;
}

/// Takes the driver's memory until it refuses, without a limit: the error, then everything is given
/// back and the request that failed succeeds. Blocks taken, 0 when a promise was broken.
inline int exhaust_driver(Device& device, size_t unit, ExhaustionResult& result) {
  Allocator& allocator = device.allocator();
  std::vector<Block*> blocks;
  const uint64_t most = device.properties().total_bytes / unit + 2;
  try {
    while (blocks.size() < most) blocks.push_back(allocator.allocate(unit, device.compute()));
    result.failure = "the driver gave more memory than the device has";
  } catch (const Error& error) {
    result.message = error.message();
    if (error.code() != ErrorCode::kOutOfMemory) result.failure = "not an OutOfMemoryError";
  }
  for (Block* block : blocks) allocator.free(block);
  // On another stream: the cache of the first one has to go back to the driver.
  allocator.free(allocator.allocate(unit, device.comm()));
  allocator.release_cached();
  return result.failure.empty() ? static_cast<int>(blocks.size()) : 0;
}

/// Nanoseconds of allocate and free together when the cache has the block.
inline double cache_hit_ns(Device& device, int rounds) {
  Allocator& allocator = device.allocator();
  Stream& stream = device.compute();
  Block* neighbour = allocator.allocate(4096, stream);  // the segment stays split
  allocator.free(allocator.allocate(4096, stream));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) allocator.free(allocator.allocate(4096, stream));
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  allocator.free(neighbour);
  return spent.count() / rounds;
}

}  // namespace fabric::test
