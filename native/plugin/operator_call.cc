// See operator_call.h: views, and the functions that plugins call. Each checks what it was given; no
// exception leaves one.
#include "plugin/operator_call.h"

#include <cstring>
#include <new>

#include "fabric/host_queue.h"
#include "fabric/plugin.h"
#include "iter/tensor_iterator.h"
#include "ops/ops.h"

namespace weft::plugin {
namespace {

constexpr WeftDtype kDtypes[] = {
#define WEFT_DTYPE(enumerator, name, bytes, dl_code, dl_bits) {dl_code, dl_bits, 1},
#include "fabric/dtypes.def"
#undef WEFT_DTYPE
};

WeftDtype dtype_of(DType dtype) { return kDtypes[static_cast<int>(dtype)]; }

DType known(WeftDtype dtype) {
  for (int i = 0; i < fabric::kDTypeCount; ++i) {
    if (std::memcmp(&kDtypes[i], &dtype, sizeof dtype) == 0) return static_cast<DType>(i);
  }
  fail(ErrorCode::kDtype, "no dtype has DLPack code %d with %d bits and %d lanes", dtype.code,
       dtype.bits, dtype.lanes);
}

void check(bool good, const char* what) {
  if (!good) fail(ErrorCode::kUsage, "%s", what);
}

CallView& view_of(const WeftOperatorCall* call) {
  check(call != nullptr, "this needs the call");
  return const_cast<CallView&>(static_cast<const CallView&>(*call));
}

WeftStatus output(const WeftOperatorCall* call, uint32_t index, int32_t ndim, const int64_t* shape,
                  WeftDtype dtype, const WeftTensor** made) {
  return fabric::answer_plugin([&] {
    CallView& view = view_of(call);
    check(made != nullptr && (shape != nullptr || ndim == 0) && ndim >= 0 && ndim <= WEFT_MAX_DIMS,
          "output needs a shape of at most 8 dimensions and a place for the tensor");
    check(index < view.made.size(), "output has no result with this index");
    check(!view.made[index], "output was called twice for one result");
    Dims dims;
    for (int32_t i = 0; i < ndim; ++i) {
      check(shape[i] >= 0, "output was given a negative size");
      dims.push(shape[i]);
    }
    element_count(dims);
    view.made[index] = empty(dims, known(dtype), view.device);
    *made = view.add(view.made[index]);
  });
}

WeftStatus broadcast(const WeftOperatorCall* call, uint32_t count, const WeftTensor* const* tensors,
                     int32_t* ndim, int64_t* shape, WeftDtype* dtype) {
  return fabric::answer_plugin([&] {
    CallView& view = view_of(call);
    check(count > 0 && tensors && ndim && shape && dtype, "broadcast needs tensors and places");
    const TensorView& first = view.known_view(tensors[0]);
    Dims all = first.shape_;
    DType common = known(first.dtype);
    for (uint32_t i = 1; i < count; ++i) {
      const TensorView& each = view.known_view(tensors[i]);
      all = broadcast_shapes(all, each.shape_, view.name);
      common = promote(common, known(each.dtype));
    }
    *ndim = all.n;
    for (int i = 0; i < all.n; ++i) shape[i] = all[i];
    *dtype = dtype_of(common);
  });
}

WeftStatus convert(const WeftOperatorCall* call, const WeftTensor* tensor, WeftDtype dtype,
                   const WeftTensor** converted) {
  return fabric::answer_plugin([&] {
    CallView& view = view_of(call);
    check(converted != nullptr, "convert needs a place for the tensor");
    const Tensor& from = view.tensor_of(tensor);
    const DType to = known(dtype);
    *converted = from.dtype() == to ? tensor : view.add(ops::to_dtype(from, to));
  });
}

WeftStatus iterate(const WeftOperatorCall* call, uint32_t count, const WeftTensor* const* operands,
                   WeftIterator* out) {
  return fabric::answer_plugin([&] {
    CallView& view = view_of(call);
    check(operands != nullptr && count >= 1 && count <= WEFT_MAX_OPERANDS,
          "iterate takes one to four operands");
    check(out != nullptr && out->size == sizeof(WeftIterator),
          "iterate needs a WeftIterator with its size set");
    const Tensor* t[WEFT_MAX_OPERANDS];
    for (uint32_t i = 0; i < count; ++i) t[i] = &view.tensor_of(operands[i]);
    TensorIterator it = count == 1   ? TensorIterator::build({t[0]}, view.name)
                        : count == 2 ? TensorIterator::build({t[0], t[1]}, view.name)
                        : count == 3 ? TensorIterator::build({t[0], t[1], t[2]}, view.name)
                                     : TensorIterator::build({t[0], t[1], t[2], t[3]}, view.name);
    *out = WeftIterator{};
    out->size = sizeof(WeftIterator);
    out->operands = count;
    out->ndim = it.ndim;
    out->contiguous = it.contiguous;
    out->count = it.numel;
    std::memcpy(out->shape, it.shape, sizeof out->shape);
    for (uint32_t o = 0; o < count; ++o) {
      out->data[o] = it.operand[o].data;
      out->dtype[o] = dtype_of(it.operand[o].dtype);
      std::memcpy(out->strides[o], it.operand[o].strides, sizeof out->strides[o]);
    }
  });
}

/// A plugin's function on a host stream, with its argument.
template <size_t kBytes>
struct Task {
  Task(const std::shared_ptr<void>& library, void (*fn)(const void*), const void* from,
       size_t bytes)
      : library(library), fn(fn) {
    if (bytes > 0) std::memcpy(argument, from, bytes);
  }
  void operator()() const { fn(argument); }

  std::shared_ptr<void> library;
  void (*fn)(const void*);
  alignas(16) char argument[kBytes];
};

template <size_t kBytes>
void enqueue_task(CallView& view, void (*fn)(const void*), const void* argument, size_t bytes) {
  fabric::host::enqueue(current_stream(view.device).handle(),
                        Task<kBytes>(view.library, fn, argument, bytes));
}

WeftStatus enqueue(const WeftOperatorCall* call, void (*fn)(const void*), const void* argument,
                   uint64_t bytes) {
  return fabric::answer_plugin([&] {
    CallView& view = view_of(call);
    check(view.driver == WEFT_DRIVER_HOST,
          "enqueue runs functions on host devices: launch kernels on the call's stream");
    check(fn != nullptr && bytes <= 1024 && (argument != nullptr || bytes == 0),
          "enqueue needs a function and at most 1024 bytes");
    if (bytes <= 64) {
      enqueue_task<64>(view, fn, argument, bytes);
    } else if (bytes <= 512) {
      enqueue_task<512>(view, fn, argument, bytes);
    } else {
      enqueue_task<1024>(view, fn, argument, bytes);
    }
  });
}

}  // namespace

TensorView::TensorView(const Tensor& tensor, const Dims& dims, DType type, Device& on)
    : WeftTensor{}, tensor(tensor), shape_(dims) {
  strides_ = tensor ? tensor.strides() : contiguous_strides(dims);
  data = tensor ? tensor.data() : nullptr;
  device = {on.driver().kind() == fabric::DriverKind::kCuda ? 2 : 1, on.ordinal()};
  ndim = dims.n;
  WeftTensor::dtype = dtype_of(type);
  shape = shape_.v;
  strides = strides_.v;
}

CallView::CallView(const char* name, Device& device, const std::shared_ptr<void>& library)
    : WeftOperatorCall{}, name(name), device(device), library(library) {
  size = sizeof(WeftOperatorCall);
  driver =
      device.driver().kind() == fabric::DriverKind::kCuda ? WEFT_DRIVER_CUDA : WEFT_DRIVER_HOST;
  ordinal = device.ordinal();
  stream = current_stream(device).handle();
}

CallView::~CallView() {
  auto* views = std::launder(reinterpret_cast<TensorView*>(near_));
  while (views_ > 0) views[--views_].~TensorView();
}

const WeftTensor* CallView::place(const Tensor& tensor, const Dims& shape, DType dtype,
                                  Device& on) {
  if (views_ < kNear) {
    auto* made = new (near_ + sizeof(TensorView) * views_) TensorView(tensor, shape, dtype, on);
    ++views_;
    return made;
  }
  if (!far_) far_ = std::make_unique<std::deque<TensorView>>();
  return &far_->emplace_back(tensor, shape, dtype, on);
}

const WeftTensor* CallView::add(const Tensor& tensor) {
  if (!tensor) return nullptr;
  tensor->storage->use_on(current_stream(device));
  return place(tensor, tensor.shape(), tensor.dtype(), tensor.device());
}

const WeftTensor* CallView::add_shape(const Dims& shape, DType dtype) {
  return place(Tensor(), shape, dtype, device);
}

const TensorView& CallView::known_view(const WeftTensor* view) const {
  const auto* views = std::launder(reinterpret_cast<const TensorView*>(near_));
  for (size_t i = 0; i < views_; ++i) {
    if (&views[i] == view) return views[i];
  }
  if (far_) {
    for (const TensorView& each : *far_) {
      if (&each == view) return each;
    }
  }
  fail(ErrorCode::kUsage, "a tensor was given that is not of this call");
}

const Tensor& CallView::tensor_of(const WeftTensor* view) const {
  const Tensor& tensor = known_view(view).tensor;
  check(static_cast<bool>(tensor), "a tensor is used that the operator did not keep");
  return tensor;
}

const WeftOperatorHost& operator_host() {
  static const WeftOperatorHost host = {
      sizeof(WeftOperatorHost), 0, &output, &broadcast, &convert, &iterate, &enqueue};
  return host;
}

}  // namespace weft::plugin
