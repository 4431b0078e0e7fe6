// Device memory that one launch needs. Prepared calls own it; the launcher destroys them.
#pragma once

#include <cstddef>
#include <vector>

#include "fabric/allocator.h"

namespace fabric {

/// Blocks of one launch, each freed in the order of its stream when the launch was enqueued.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  /// nullptr for 0 bytes. May wait for memory, as Allocator::allocate does.
  char* take(size_t bytes, Stream& stream);

 private:
  std::vector<Block*> blocks_;
};

}  // namespace fabric
