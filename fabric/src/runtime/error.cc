// Error codes by name, and fail(): the one way native code throws. Called by every native layer.
#include "fabric/error.h"

#include <cstdarg>
#include <cstdio>

namespace fabric {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNone:
      return "WEFT_NONE";
#define WEFT_ERROR(enumerator, cls, name) \
  case ErrorCode::enumerator:             \
    return #name;
#include "fabric/error_codes.def"
#undef WEFT_ERROR
  }
  return "WEFT_UNKNOWN";
}

const char* error_class_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNone:
      return "Error";
#define WEFT_ERROR(enumerator, cls, name) \
  case ErrorCode::enumerator:             \
    return #cls;
#include "fabric/error_codes.def"
#undef WEFT_ERROR
  }
  return "Error";
}

void fail(ErrorCode code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  va_list again;
  va_copy(again, args);
  int length = std::vsnprintf(nullptr, 0, format, args);
  va_end(args);
  std::string message(length > 0 ? static_cast<size_t>(length) : 0, '\0');
  if (length > 0) std::vsnprintf(message.data(), message.size() + 1, format, again);
  va_end(again);
  throw Error(code, std::move(message));
}

}  // namespace fabric
