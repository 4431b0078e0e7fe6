// Writes of a storage that another stream does beside the work of those who will read it, such as an all-gather of
// parameters while the next forward pass has begun. The storage tells whoever uses it (Storage::use_on), so each
// stream waits, on the device, where it first needs the memory. parallel/gradient_shards.cc makes them; captured
// steps, whose kernels ask nobody, order themselves behind all of a device (graph/step_graph.cc).
//
// One is made, used and ended by the thread that enqueues work on the storage's device, or while that thread waits.
#pragma once

#include "core/tensor.h"

namespace weft {

class LateWrite {
 public:
  /// Announces a write of `storage`, which has no other one; it is known until this ends.
  explicit LateWrite(Ref<Storage> storage);
  virtual ~LateWrite();
  LateWrite(const LateWrite&) = delete;
  LateWrite& operator=(const LateWrite&) = delete;

  /// What is enqueued on `stream` from here on comes behind the write. May throw what made the write fail.
  virtual void order(Stream& stream) = 0;

 private:
  const Ref<Storage> storage_;
};

/// `stream` waits for all of them on its device.
void order_late_writes(Stream& stream);

}  // namespace weft
