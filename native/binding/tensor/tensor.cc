// Tensors from and to handles: making one from host memory, what one is, and giving it back.
// src/tensor/operators/factory.ts, meta.ts and tensor.ts call these.
#include <cstring>

#include "autograd/leaf.h"
#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/event_log.h"
#include "fabric/graph.h"
#include "fabric/path_counters.h"

namespace weft::binding {
namespace {

struct HostView {
  const void* data = nullptr;
  size_t bytes = 0;
};

size_t element_bytes(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return 1;
    case napi_int16_array:
    case napi_uint16_array:
      return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array:
      return 4;
    default:
      return 8;
  }
}

/// Works for views on a SharedArrayBuffer too.
HostView view_of(Frame& f, size_t i) {
  bool typed = false, data_view = false;
  HostView view;
  void* data = nullptr;
  WEFT_NAPI(napi_is_typedarray(f.env, f.values[i], &typed));
  if (typed) {
    napi_typedarray_type type;
    size_t length = 0;
    WEFT_NAPI(
        napi_get_typedarray_info(f.env, f.values[i], &type, &length, &data, nullptr, nullptr));
    view.bytes = length * element_bytes(type);
  } else {
    WEFT_NAPI(napi_is_dataview(f.env, f.values[i], &data_view));
    if (!data_view) fail(ErrorCode::kUsage, "a typed array or DataView is needed");
    WEFT_NAPI(napi_get_dataview_info(f.env, f.values[i], &view.bytes, &data, nullptr, nullptr));
  }
  view.data = data;
  return view;
}

napi_value from_host(Frame& f) {
  HostView view = view_of(f, 0);
  uint64_t rank = f.integer(1, kCallWords);
  auto dtype = static_cast<DType>(f.integer(2, fabric::kDTypeCount - 1));
  Device& device = f.device(3);
  Dims shape;
  for (uint64_t i = 0; i < rank; ++i) {
    double size = f.words()[i];
    if (!(size >= 0 && size <= 9007199254740992.0))
      fail(ErrorCode::kShape, "%g is not a size", size);
    shape.push(static_cast<int64_t>(size));
  }
  size_t bytes = static_cast<size_t>(element_count(shape)) * dtype_bytes(dtype);
  if (bytes != view.bytes) {
    fail(ErrorCode::kShape, "shape %s of %s needs %zu bytes, the data has %zu",
         to_string(shape).c_str(), dtype_name(dtype), bytes, view.bytes);
  }
  fabric::require_eager(device, "making a tensor from host data");
  Tensor t = empty(shape, dtype, device);
  if (bytes > 0) {
    Stream& stream = current_stream(device);
    fabric::StagingBuffer staging = fabric::acquire_staging(device.driver(), bytes);
    std::memcpy(staging.ptr, view.data, bytes);
    try {
      device.driver().copy(t.data(), device.ordinal(), staging.ptr, fabric::kHostMemory, bytes,
                           stream.handle());
    } catch (...) {
      fabric::release_staging(staging, nullptr);
      throw;
    }
    fabric::release_staging(staging, &stream);
    fabric::path_counters::count(fabric::Path::kHostCopy, bytes);
    fabric::event_log::log(fabric::EventKind::kCopy, device.index(), stream.id(), fabric::kNoDevice,
                           bytes, 0);
  }
  return make_number(f.env, static_cast<double>(f.adopt(std::move(t))));
}

napi_value tensor_meta(Frame& f) {
  Tensor t = f.tensor(0);
  double* w = f.words();
  int rank = t.rank();
  w[0] = static_cast<double>(t.dtype());
  w[1] = t.device().index();
  w[2] = rank;
  w[3] = static_cast<double>(t.numel());
  w[4] = static_cast<double>(t->offset);
  w[5] = t.is_contiguous();
  w[6] = t->is_view;
  for (int i = 0; i < rank; ++i) {
    w[7 + i] = static_cast<double>(t.shape()[i]);
    w[7 + rank + i] = static_cast<double>(t.strides()[i]);
  }
  return undefined(f.env);
}

napi_value tensor_flags(Frame& f) {
  Tensor t = f.tensor(0);
  bool leaf = is_leaf(t);
  bool has_grad = leaf && leaf_grad(t).defined();
  return make_number(f.env, t.requires_grad() * 1 + leaf * 2 + has_grad * 4 + !leaf * 8);
}

napi_value release(Frame& f) { return make_bool(f.env, handles::release(f.handle(0))); }

napi_value release_many(Frame& f) {
  bool typed = false;
  WEFT_NAPI(napi_is_typedarray(f.env, f.values[0], &typed));
  if (!typed) fail(ErrorCode::kUsage, "releaseMany takes a Float64Array");
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  WEFT_NAPI(napi_get_typedarray_info(f.env, f.values[0], &type, &length, &data, nullptr, nullptr));
  if (type != napi_float64_array) fail(ErrorCode::kUsage, "releaseMany takes a Float64Array");
  uint64_t count = f.integer(1, static_cast<double>(length));
  const double* list = static_cast<const double*>(data);
  size_t released = 0;
  for (uint64_t i = 0; i < count; ++i) {
    double handle = list[i];
    if (handle >= 1 && handle < 9007199254740992.0) {
      released += handles::release(static_cast<handles::Handle>(handle));
    }
  }
  return make_number(f.env, static_cast<double>(released));
}

/// Another handle to the same tensor. Owned by the process: it may outlive this environment.
napi_value retain(Frame& f) {
  return make_number(f.env, static_cast<double>(handles::insert(f.tensor(0))));
}

napi_value alive(Frame& f) { return make_bool(f.env, handles::alive(f.handle(0))); }

constexpr Function kFunctions[] = {
    {"fromHost", entry<from_host>},
    {"tensorMeta", entry<tensor_meta>},
    {"tensorFlags", entry<tensor_flags>},
    {"release", entry<release>},
    {"releaseMany", entry<release_many>},
    {"retain", entry<retain>},
    {"alive", entry<alive>},
};

}  // namespace

FunctionList tensor_functions() { return kFunctions; }

}  // namespace weft::binding
