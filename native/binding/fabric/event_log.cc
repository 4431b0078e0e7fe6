// The event log for JavaScript: its mode, its records as they come, tags and step marks.
// src/fabric/event-stream.ts, tag.ts and fabric.ts call these.
#include "fabric/event_log.h"

#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/event_tags.h"
#include "fabric/fabric.h"

namespace weft::binding {
namespace {

using fabric::EventRecord;

/// The oldest `limit` records from `since` on, into the buffer given; words: how many, the next
/// sequence, how many were lost. For a reader that follows the log.
napi_value follow_events(Frame& f) {
  void* data = nullptr;
  size_t bytes = 0;
  WEFT_NAPI(napi_get_arraybuffer_info(f.env, f.values[1], &data, &bytes));
  size_t count = 0;
  const fabric::EventSlice slice = fabric::event_log::follow(
      f.integer(0), bytes / sizeof(EventRecord), static_cast<EventRecord*>(data), &count);
  double* w = f.words();
  w[0] = static_cast<double>(count);
  w[1] = static_cast<double>(slice.next_sequence);
  w[2] = static_cast<double>(slice.dropped);
  return undefined(f.env);
}

napi_value set_log_mode(Frame& f) {
  fabric::event_log::set_mode(static_cast<fabric::LogMode>(f.integer(0, 2)));
  return undefined(f.env);
}

napi_value log_mode(Frame& f) {
  return make_number(f.env, static_cast<int>(fabric::event_log::mode()));
}

napi_value tag_number(Frame& f) {
  return make_number(f.env, fabric::event_log::tag_number(f.text(0)));
}

napi_value set_tag(Frame& f) {
  const auto tag = static_cast<uint32_t>(f.integer(0, fabric::event_log::kMostTags));
  return make_number(f.env, fabric::event_log::set_current_tag(tag));
}

napi_value tag_names(Frame& f) {
  const std::vector<std::string> names =
      fabric::event_log::tag_names(static_cast<uint32_t>(f.integer(0)));
  napi_value out = make_array(f.env, names.size());
  for (uint32_t i = 0; i < names.size(); ++i) set(f.env, out, i, make_text(f.env, names[i]));
  return out;
}

/// Step `id` of the program begins on this device; 0: none goes on.
napi_value mark_step(Frame& f) {
  const Stream& stream = f.device(0).compute();
  fabric::event_log::log(fabric::EventKind::kStep, stream.device().index(), stream.id(),
                         fabric::kNoDevice, 0, f.integer(1));
  return undefined(f.env);
}

napi_value append_test_events(Frame& f) {
  uint64_t count = f.integer(0, 1e9);
  uint64_t start = fabric::event_log::now_ns();
  for (uint64_t i = 0; i < count; ++i) {
    fabric::event_log::log(fabric::EventKind::kOperator, fabric::kNoDevice, 0, fabric::kNoDevice, i,
                           i);
  }
  double ns = static_cast<double>(fabric::event_log::now_ns() - start);
  return make_number(f.env, count > 0 ? ns / static_cast<double>(count) : 0);
}

constexpr Function kFunctions[] = {
    {"followEvents", entry<follow_events>}, {"setLogMode", entry<set_log_mode>},
    {"logMode", entry<log_mode>},           {"appendTestEvents", entry<append_test_events>},
    {"tagNumber", entry<tag_number>},       {"setTag", entry<set_tag>},
    {"tagNames", entry<tag_names>},         {"markStep", entry<mark_step>},
};

}  // namespace

FunctionList event_log_functions() { return kFunctions; }

}  // namespace weft::binding
