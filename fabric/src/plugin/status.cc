// See plugin/status.h.
#include "plugin/status.h"

#include <utility>

#include "fabric/plugin.h"

namespace fabric::plugin {
namespace {
thread_local std::string g_text;
}

void set_error(const char* text) noexcept {
  try {
    g_text = text == nullptr ? "" : text;
  } catch (const std::exception&) {  // no memory for the text: the status alone tells
    g_text.clear();
  }
}

std::string take_error() { return std::exchange(g_text, {}); }

WeftStatus status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return WEFT_ERROR_ARGUMENT;
    case ErrorCode::kOutOfMemory:
      return WEFT_ERROR_MEMORY;
    case ErrorCode::kCuda:
    case ErrorCode::kDevice:
      return WEFT_ERROR_DEVICE;
    default:
      return WEFT_FAILED;
  }
}

void fail_with(WeftStatus status, const std::string& who, const char* what) {
  std::string text = take_error();
  if (text.empty()) text = "it gave no reason (status " + std::to_string(status) + ")";
  const ErrorCode code = status == WEFT_ERROR_ARGUMENT ? ErrorCode::kUsage
                         : status == WEFT_ERROR_MEMORY ? ErrorCode::kOutOfMemory
                         : status == WEFT_ERROR_DEVICE ? ErrorCode::kDevice
                                                       : ErrorCode::kPlugin;
  fail(code, "%s could not %s: %s", who.c_str(), what, text.c_str());
}

void fail_thrown(const std::string& who, const char* what, const char* text) {
  fail(ErrorCode::kPlugin, "%s: an exception left it while it was to %s: %s", who.c_str(), what,
       text);
}

}  // namespace fabric::plugin

namespace fabric {

void ask_plugin(const std::string& who, const char* what, WeftStatus (*call)(void*),
                void* argument) {
  plugin::ask(who, what, [&] { return call(argument); });
}

WeftStatus answer_plugin(void (*body)(void*), void* argument) noexcept {
  return plugin::answer([&] { body(argument); });
}

}  // namespace fabric
