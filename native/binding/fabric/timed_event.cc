// Timed events: points in a stream's work whose distance in device time can be asked for.
// JavaScript holds each as an external that owns it; src/fabric/timed-event.ts calls these.
#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/fabric.h"

namespace weft::binding {
namespace {

struct TimedEvent {
  explicit TimedEvent(Device& device) : event(device, true) {}
  fabric::Event event;
  bool recorded = false;
};

constexpr napi_type_tag kTag = {0x7765667474696d65, 0x6465766e74303031};

napi_value create_timed_event(Frame& f) {
  auto owned = std::make_unique<TimedEvent>(f.device(0));
  napi_value out;
  WEFT_NAPI(napi_create_external(
      f.env, owned.get(),
      [](napi_env, void* data, void*) { delete static_cast<TimedEvent*>(data); }, nullptr, &out));
  owned.release();
  WEFT_NAPI(napi_type_tag_object(f.env, out, &kTag));
  return out;
}

TimedEvent& timed_event(Frame& f, size_t i) {
  bool ours = false;
  napi_valuetype type;
  WEFT_NAPI(napi_typeof(f.env, f.values[i], &type));
  if (type == napi_external) {
    WEFT_NAPI(napi_check_object_type_tag(f.env, f.values[i], &kTag, &ours));
  }
  if (!ours) fail(ErrorCode::kUsage, "native call: argument %zu must be a timed event", i);
  void* data = nullptr;
  WEFT_NAPI(napi_get_value_external(f.env, f.values[i], &data));
  return *static_cast<TimedEvent*>(data);
}

napi_value record_timed_event(Frame& f) {
  TimedEvent& timed = timed_event(f, 0);
  timed.event.record(current_stream(*timed.event.device()));
  timed.recorded = true;
  return undefined(f.env);
}

napi_value timed_event_done(Frame& f) {
  TimedEvent& timed = timed_event(f, 0);
  return make_bool(f.env, timed.recorded && timed.event.query());
}

napi_value timed_event_elapsed(Frame& f) {
  TimedEvent& start = timed_event(f, 0);
  TimedEvent& stop = timed_event(f, 1);
  Device& device = *start.event.device();
  if (stop.event.device() != &device) {
    fail(ErrorCode::kDevice, "timed events of %s and %s: both must belong to one device",
         device.name().c_str(), stop.event.device()->name().c_str());
  }
  for (TimedEvent* each : {&start, &stop}) {
    if (!each->recorded)
      fail(ErrorCode::kUsage, "a timed event was never recorded: call record() first");
    if (!each->event.query()) {
      fail(ErrorCode::kUsage,
           "%s has not reached the timed event yet: await fabric.synchronize() first",
           device.name().c_str());
    }
  }
  return make_number(f.env, device.driver().elapsed_ms(start.event.handle(), stop.event.handle()));
}

constexpr Function kFunctions[] = {
    {"createTimedEvent", entry<create_timed_event>},
    {"recordTimedEvent", entry<record_timed_event>},
    {"timedEventDone", entry<timed_event_done>},
    {"timedEventElapsed", entry<timed_event_elapsed>},
};

}  // namespace

FunctionList timed_event_functions() { return kFunctions; }

}  // namespace weft::binding
