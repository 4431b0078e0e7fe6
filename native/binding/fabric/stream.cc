// Streams: making them, choosing the one that this thread's operators use, ordering them.
// src/fabric/stream.ts calls these.
#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/fabric.h"

namespace weft::binding {
namespace {

Stream& stream_at(Frame& f, size_t device_argument, size_t stream_argument) {
  Device& device = f.device(device_argument);
  uint64_t id = f.integer(stream_argument, 65535);
  if (id < 4) return device.stream(static_cast<fabric::StreamPurpose>(id));
  Stream* stream = device.find_stream(static_cast<uint16_t>(id));
  if (!stream) {
    fail(ErrorCode::kUsage, "%s has no stream %d", device.name().c_str(), static_cast<int>(id));
  }
  return *stream;
}

napi_value create_stream(Frame& f) {
  Stream& stream = f.device(0).create_stream(static_cast<int>(f.signed_integer(1)));
  return make_number(f.env, stream.id());
}

napi_value set_current_stream(Frame& f) {
  Stream& stream = stream_at(f, 0, 1);
  auto& current = f.state->current_streams[stream.device().index()];
  current.reset();  // back to the device's own before the new one is set
  if (&stream != &stream.device().compute()) current = std::make_unique<StreamGuard>(stream);
  return undefined(f.env);
}

napi_value get_current_stream(Frame& f) {
  return make_number(f.env, current_stream(f.device(0)).id());
}

napi_value stream_wait(Frame& f) {
  fabric::order_after(stream_at(f, 0, 1), stream_at(f, 2, 3));
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"createStream", entry<create_stream>},
    {"setCurrentStream", entry<set_current_stream>},
    {"currentStream", entry<get_current_stream>},
    {"streamWait", entry<stream_wait>},
};

}  // namespace

FunctionList stream_functions() { return kFunctions; }

}  // namespace weft::binding
