// Values that leave a device: read() copies through staging memory and resolves a promise with a
// fresh ArrayBuffer. src/tensor/values/read.ts calls it. Nothing here waits on the calling thread.
//
// Design. On the current stream: contiguous (when needed), copy to staging, notify. The driver's
// thread posts to the environment, whose loop looks for a noted kernel error, copies the bytes and
// resolves. The staging buffer is owned by the task: when the environment ends first, the task is
// dropped and frees it.
#include <cstring>
#include <type_traits>
#include <vector>

#include "autograd/node.h"
#include "binding/completion.h"
#include "binding/entry.h"
#include "core/async_error.h"
#include "dispatch/op_table.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"
#include "fabric/graph.h"
#include "fabric/half.h"
#include "fabric/path_counters.h"

namespace weft::binding {
namespace {

/// Staging memory, given back when the last copy of the task dies (after the device wrote it).
struct Parcel {
  fabric::StagingBuffer buffer;
  size_t bytes = 0;
  ~Parcel() {
    if (buffer.ptr) fabric::release_staging(buffer, nullptr);
  }
};

void begin_read(Environment& state, const Tensor& source, napi_deferred deferred) {
  fabric::check_poison();
  fabric::require_eager(source.device(), "reading a value");
  NoGradGuard no_grad;
  Tensor t = source.is_contiguous() ? source : call(Op::contiguous, {source});
  Device& device = t.device();
  Stream& stream = current_stream(device);
  auto parcel = std::make_shared<Parcel>();
  parcel->bytes = static_cast<size_t>(t.numel()) * dtype_bytes(t.dtype());
  if (parcel->bytes > 0) {
    parcel->buffer = fabric::acquire_staging(device.driver(), parcel->bytes);
    t->storage->use_on(stream);
    device.driver().copy(parcel->buffer.ptr, fabric::kHostMemory, t.data(), device.ordinal(),
                         parcel->bytes, stream.handle());
    fabric::path_counters::count(fabric::Path::kHostCopy, parcel->bytes);
    fabric::event_log::log(fabric::EventKind::kCopy, device.index(), stream.id(), fabric::kNoDevice,
                           parcel->bytes, 0);
  }
  auto finish = [parcel, deferred, &device](Environment& state) {
    settle(state, deferred, [&] {
      throw_async_error(device);
      fabric::check_poison();
      void* data = nullptr;
      napi_value buffer = make_buffer(state.env, parcel->bytes, &data);
      if (parcel->bytes > 0) std::memcpy(data, parcel->buffer.ptr, parcel->bytes);
      resolve(state, deferred, buffer);
    });
  };
  device.driver().notify(stream.handle(), [queue = state.completions, finish = std::move(finish)] {
    queue->post(finish, true);
  });
}

napi_value read(Frame& f) {
  Tensor t = f.tensor(0);
  return f.state->completions->promise(
      [&](napi_deferred deferred) { begin_read(*f.state, t, deferred); });
}

/// Has every stream of every device run dry? A capture cannot be asked.
bool all_idle() {
  for (Device* device : fabric::devices()) {
    if (device->capturing()) return false;
    for (Stream* stream : device->streams()) {
      if (!stream->idle()) return false;
    }
  }
  return true;
}

/// Copies elements in order, the last dimension fastest.
template <typename From, typename To>
void gather(const Tensor& t, void* out) {
  const Dims& shape = t.shape();
  const Dims& strides = t.strides();
  const int rank = static_cast<int>(shape.size());
  const From* from = reinterpret_cast<const From*>(t.data());
  To* to = static_cast<To*>(out);
  std::vector<int64_t> at(rank, 0);
  for (int64_t i = 0, offset = 0; i < t.numel(); ++i) {
    if constexpr (std::is_same_v<From, To>) {
      to[i] = from[offset];
    } else {
      to[i] = static_cast<To>(from[offset]);
    }
    for (int d = rank - 1; d >= 0; --d) {
      offset += strides[d];
      if (++at[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
}

/// The elements of a tensor in host memory, in order, halves as f32, when nothing is left that could
/// write them; null otherwise. Never waits. Work that another thread enqueues meanwhile is not held
/// off. Meant for small tensors: it runs element by element on the calling thread.
napi_value peek(Frame& f) {
  Tensor t = f.tensor(0);
  const bool written = t->storage->late_write() != nullptr;  // by what may not be enqueued yet
  if (t.device().kind() != fabric::DriverKind::kHost || written || !all_idle()) {
    napi_value null = nullptr;
    napi_get_null(f.env, &null);
    return null;
  }
  const bool half = t.dtype() == DType::kF16 || t.dtype() == DType::kBF16;
  const size_t width = half ? sizeof(float) : dtype_bytes(t.dtype());
  void* data = nullptr;
  napi_value buffer = make_buffer(f.env, static_cast<size_t>(t.numel()) * width, &data);
  if (t.dtype() == DType::kF16) {
    gather<fabric::F16, float>(t, data);
  } else if (t.dtype() == DType::kBF16) {
    gather<fabric::BF16, float>(t, data);
  } else if (width == 8) {
    gather<uint64_t, uint64_t>(t, data);
  } else if (width == 4) {
    gather<uint32_t, uint32_t>(t, data);
  } else {
    gather<uint8_t, uint8_t>(t, data);
  }
  return buffer;
}

constexpr Function kFunctions[] = {{"read", entry<read>}, {"peek", entry<peek>}};

}  // namespace

FunctionList read_functions() { return kFunctions; }

}  // namespace weft::binding
