// The error type of every native layer: a code that says where it comes from, a message that says
// what to do, and optional fields as JSON. Thrown inside C++ only; the Node binding and the plugin
// C ABI catch it at their edge, so no exception ever crosses either boundary.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace fabric {

enum class ErrorCode : int {
  kNone = 0,
#define WEFT_ERROR(enumerator, cls, code) enumerator,
#include "fabric/error_codes.def"
#undef WEFT_ERROR
};

/// The stable code of `code` as users see it, for example "WEFT_SHAPE".
const char* error_code_name(ErrorCode code);
/// The TypeScript class of `code`, for example "ShapeError".
const char* error_class_name(ErrorCode code);

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, std::string fields_json = "")
      : code_(code), message_(std::move(message)), fields_json_(std::move(fields_json)) {}

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  /// A JSON object such as {"missing":[2]}, or "" when the error carries no fields.
  const std::string& fields_json() const { return fields_json_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
  std::string fields_json_;
};

/// Throws Error(code) with a printf-formatted message.
[[noreturn]] void fail(ErrorCode code, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

}  // namespace fabric
