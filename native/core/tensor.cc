// Storage and Tensor: lifetime, views, the current stream and the live counts.
#include "core/tensor.h"

#include "autograd/node.h"
#include "core/tally.h"

namespace weft {
namespace {

constexpr int kMaxDevices = tally::kDevices;

thread_local Stream* t_streams[kMaxDevices] = {};

}  // namespace

Storage::Storage(fabric::Block* block, size_t bytes) : block_(block), bytes_(bytes) {
  tally::add(tally::bytes_of(block->device->index()), static_cast<int64_t>(bytes));
}

Storage::~Storage() {
  tally::add(tally::bytes_of(block_->device->index()), -static_cast<int64_t>(bytes_));
  block_->device->allocator().free(block_);
}

TensorImpl::TensorImpl(Ref<Storage> storage_in, const Dims& shape_in, const Dims& strides_in,
                       int64_t offset_in, DType dtype_in)
    : storage(std::move(storage_in)),
      shape(shape_in),
      strides(strides_in),
      offset(offset_in),
      numel(element_count(shape_in)),
      dtype(dtype_in) {
  int64_t expected = 1;
  contiguous = true;
  for (int i = shape.n - 1; i >= 0; --i) {
    if (shape.v[i] != 1 && strides.v[i] != expected) {
      contiguous = false;
      break;
    }
    expected *= shape.v[i];
  }
  if (numel == 0) contiguous = true;
  tally::add(tally::tensors_of(storage->device().index()), 1);
}

TensorImpl::~TensorImpl() { tally::add(tally::tensors_of(storage->device().index()), -1); }

Stream& current_stream(Device& device) {
  Stream* stream = t_streams[device.index() % kMaxDevices];
  return stream ? *stream : device.compute();
}

std::vector<Stream*> chosen_streams() {
  std::vector<Stream*> chosen;
  for (Stream* stream : t_streams) {
    if (stream != nullptr) chosen.push_back(stream);
  }
  return chosen;
}

StreamGuard::StreamGuard(Stream& stream)
    : device_(static_cast<uint16_t>(stream.device().index() % kMaxDevices)),
      previous_(t_streams[device_]) {
  t_streams[device_] = &stream;
}
StreamGuard::~StreamGuard() { t_streams[device_] = previous_; }

void set_current_stream(Stream& stream) {
  t_streams[stream.device().index() % kMaxDevices] = &stream;
}

Tensor empty(const Dims& shape, DType dtype, Device& device) {
  size_t bytes = static_cast<size_t>(element_count(shape)) * dtype_bytes(dtype);
  fabric::Block* block = device.allocator().allocate(bytes, current_stream(device));
  return Tensor(make_ref<TensorImpl>(make_ref<Storage>(block, bytes), shape,
                                     contiguous_strides(shape), 0, dtype));
}

Tensor make_view(const Tensor& base, const Dims& shape, const Dims& strides, int64_t offset) {
  int64_t last = offset;
  int64_t first = offset;
  bool has_elements = true;
  for (int i = 0; i < shape.n; ++i) {
    if (shape.v[i] == 0) has_elements = false;
    (strides.v[i] >= 0 ? last : first) += strides.v[i] * (shape.v[i] - 1);
  }
  auto capacity = static_cast<int64_t>(base->storage->bytes() / dtype_bytes(base.dtype()));
  if (has_elements && (first < 0 || last >= capacity)) {
    fail(ErrorCode::kShape, "view of shape %s reaches outside its storage of %lld elements",
         to_string(shape).c_str(), static_cast<long long>(capacity));
  }
  auto view = make_ref<TensorImpl>(base->storage, shape, strides, offset, base.dtype());
  view->is_view = true;
  view->history_version = base->history_version == kDetached ? kDetached : base->storage->version();
  return Tensor(std::move(view));
}

Tensor detach(const Tensor& t) {
  auto alias = make_ref<TensorImpl>(t->storage, t.shape(), t.strides(), t->offset, t.dtype());
  alias->is_view = t->is_view;
  alias->history_version = kDetached;
  return Tensor(std::move(alias));
}

TensorCounts tensor_counts(const Device& device) {
  return {tally::total(tally::tensors_of(device.index())),
          tally::total(tally::bytes_of(device.index()))};
}

}  // namespace weft
