// See collective/scratch.h.
#include "collective/scratch.h"

namespace fabric {

Scratch::~Scratch() {
  for (Block* block : blocks_) block->device->allocator().free(block);
}

char* Scratch::take(size_t bytes, Stream& stream) {
  if (bytes == 0) return nullptr;
  blocks_.reserve(blocks_.size() + 1);
  Block* block = stream.device().allocator().allocate(bytes, stream);
  blocks_.push_back(block);
  return static_cast<char*>(block->ptr);
}

}  // namespace fabric
