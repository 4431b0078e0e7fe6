// Storage and Tensor: what every operator takes and returns. A Tensor is a counted reference to a
// TensorImpl: shape, strides and offset over a Storage that views share, with the version counter
// that saved tensors are checked against.
//
// Streams: a storage's block belongs to the stream it was allocated on. Operators run on the
// current stream of the tensor's device (current_stream); when that is another one, use_on() tells
// the allocator. Ordering between streams stays the caller's, by events, but for a write that
// was announced (late_write.h): whoever uses the memory waits for it there.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/dims.h"
#include "core/recycled.h"
#include "core/ref.h"
#include "fabric/allocator.h"
#include "fabric/device.h"
#include "fabric/dtype.h"
#include "fabric/error.h"

namespace weft {

using fabric::Device;
using fabric::DType;
using fabric::dtype_bytes;
using fabric::dtype_name;
using fabric::Error;
using fabric::ErrorCode;
using fabric::fail;
using fabric::is_floating;
using fabric::is_half;
using fabric::Stream;

struct AutogradMeta;  // autograd/node.h
class LateWrite;      // core/late_write.h

class Storage final : public RefCounted, public Recycled<Storage> {
 public:
  Storage(fabric::Block* block, size_t bytes);
  ~Storage();  ///< gives the block back, stream-ordered

  char* data() const { return static_cast<char*>(block_->ptr); }
  size_t bytes() const { return bytes_; }
  Device& device() const { return *block_->device; }
  fabric::Block* block() const { return block_; }
  /// Before work that uses the memory is enqueued on `stream`.
  void use_on(Stream& stream) {
    order(stream);
    note_use(stream);
  }
  /// `stream` waits for a write that another one does (core/late_write.h).
  void order(Stream& stream) {
    if (late_write() != nullptr) [[unlikely]]
      order_behind_write(stream);
  }
  /// For work whose order is known: tells the allocator alone. From any thread.
  void note_use(Stream& stream) {
    if (&stream != block_->stream) device().allocator().record_use(block_, stream);
  }
  LateWrite* late_write() const { return late_write_.load(std::memory_order_acquire); }
  void set_late_write(LateWrite* write) { late_write_.store(write, std::memory_order_release); }
  uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version(uint16_t op) {
    last_writer_.store(op, std::memory_order_relaxed);
    version_.fetch_add(1, std::memory_order_relaxed);
  }
  uint16_t last_writer() const { return last_writer_.load(std::memory_order_relaxed); }
  /// The write that made the present version belongs to a gradient history: views made before it
  /// lack that history.
  void note_recorded_write() { recorded_write_.store(version(), std::memory_order_relaxed); }
  uint32_t recorded_write() const { return recorded_write_.load(std::memory_order_relaxed); }

 private:
  void order_behind_write(Stream& stream);

  fabric::Block* block_;
  size_t bytes_;
  std::atomic<uint32_t> version_{0};
  std::atomic<uint16_t> last_writer_{0};  // operator id of the latest in-place write
  std::atomic<uint32_t> recorded_write_{0};
  std::atomic<LateWrite*> late_write_{nullptr};
};

/// The autograd part of a tensor: made on first need, by whichever thread comes first, and kept
/// until the tensor ends.
class AutogradSlot {
 public:
  AutogradSlot() = default;
  ~AutogradSlot();
  AutogradSlot(const AutogradSlot&) = delete;
  AutogradSlot& operator=(const AutogradSlot&) = delete;

  AutogradMeta* get() const { return meta_.load(std::memory_order_acquire); }
  explicit operator bool() const { return get() != nullptr; }
  AutogradMeta* operator->() const { return get(); }
  AutogradMeta& operator*() const { return *get(); }
  AutogradMeta& make();

 private:
  std::atomic<AutogradMeta*> meta_{nullptr};
};

class TensorImpl final : public RefCounted, public Recycled<TensorImpl> {
 public:
  TensorImpl(Ref<Storage> storage, const Dims& shape, const Dims& strides, int64_t offset,
             DType dtype);
  ~TensorImpl();

  Ref<Storage> storage;
  Dims shape;
  Dims strides;        // in elements
  int64_t offset = 0;  // in elements
  int64_t numel = 0;
  DType dtype;
  /// A leaf that asks for gradients, or has a grad_fn. Set last: who reads it finds `autograd`.
  std::atomic<bool> requires_grad{false};
  bool is_view = false;
  /// Storage version when the history was set, or the view was made: a view's history ends when the
  /// memory changes, and a view without one lacks what is recorded later.
  uint32_t history_version = 0;
  bool contiguous = false;
  AutogradSlot autograd;
};
/// history_version of an alias that is to have no history, whatever happens to its memory.
inline constexpr uint32_t kDetached = ~uint32_t{0};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const { return static_cast<bool>(impl_); }
  explicit operator bool() const { return defined(); }
  TensorImpl* impl() const { return impl_.get(); }
  TensorImpl* operator->() const { return impl_.get(); }
  bool same(const Tensor& o) const { return impl_ == o.impl_; }

  const Dims& shape() const { return impl_->shape; }
  const Dims& strides() const { return impl_->strides; }
  int rank() const { return impl_->shape.n; }
  int64_t size(int dim) const { return impl_->shape.v[dim < 0 ? dim + impl_->shape.n : dim]; }
  int64_t numel() const { return impl_->numel; }
  DType dtype() const { return impl_->dtype; }
  Device& device() const { return impl_->storage->device(); }
  bool is_contiguous() const { return impl_->contiguous; }
  bool requires_grad() const { return impl_->requires_grad.load(std::memory_order_acquire); }
  /// Address of element 0. Device memory: enqueue work on it, do not touch it from here.
  char* data() const {
    return impl_->storage->data() + impl_->offset * static_cast<int64_t>(dtype_bytes(impl_->dtype));
  }
  template <typename T>
  T* data_as() const {
    return reinterpret_cast<T*>(data());
  }

 private:
  Ref<TensorImpl> impl_;
};

/// The stream that operators of this thread use on `device`: the compute stream unless a
/// StreamGuard says otherwise.
Stream& current_stream(Device& device);
/// Makes `stream` the current one of its device for this thread, until changed again.
void set_current_stream(Stream& stream);
/// Current streams that this thread chose; devices without one are at their compute stream.
std::vector<Stream*> chosen_streams();
class StreamGuard {
 public:
  explicit StreamGuard(Stream& stream);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  uint16_t device_;
  Stream* previous_;
};

/// A new contiguous tensor with undefined content, on the current stream of `device`.
Tensor empty(const Dims& shape, DType dtype, Device& device);
/// Another view on the same storage. Bounds are checked; throws ShapeError.
Tensor make_view(const Tensor& base, const Dims& shape, const Dims& strides, int64_t offset);
/// The same memory as `t` without its gradient history.
Tensor detach(const Tensor& t);

/// Live tensors and bytes, process-wide per device; what `memory()` reports.
struct TensorCounts {
  int64_t tensors = 0;
  int64_t bytes = 0;  ///< of live storages
};
TensorCounts tensor_counts(const Device& device);

}  // namespace weft
