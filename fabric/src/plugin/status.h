// Errors at the edge of the C ABI, in both directions: what the host's functions give to a plugin
// and what a plugin's functions give to the host.
#pragma once

#include <string>

#include "fabric/error.h"
#include "fabric/plugin_abi.h"

namespace fabric::plugin {

/// WeftHost::set_error: the calling thread's text.
void set_error(const char* text) noexcept;
/// Gives the text and forgets it.
std::string take_error();

/// Runs `body` for a plugin: an Error becomes its status and the thread's text.
template <typename Body>
WeftStatus answer(Body&& body) noexcept;

/// Calls a function of a plugin. Throws what its status and text tell, as an error of `who`; a
/// PluginError also when an exception left it.
template <typename Call>
void ask(const std::string& who, const char* what, Call&& call);

WeftStatus status_of(ErrorCode code);
[[noreturn]] void fail_with(WeftStatus status, const std::string& who, const char* what);
[[noreturn]] void fail_thrown(const std::string& who, const char* what, const char* text);

template <typename Body>
WeftStatus answer(Body&& body) noexcept {
  try {
    body();
    return WEFT_OK;
  } catch (const Error& error) {
    set_error(error.message().c_str());
    return status_of(error.code());
  } catch (const std::exception& error) {
    set_error(error.what());
    return WEFT_FAILED;
  }
}

template <typename Call>
void ask(const std::string& who, const char* what, Call&& call) {
  set_error("");
  WeftStatus status = WEFT_OK;
  try {
    status = call();
  } catch (const std::exception& error) {
    fail_thrown(who, what, error.what());
  } catch (...) {
    fail_thrown(who, what, "an exception of unknown type");
  }
  if (status != WEFT_OK) fail_with(status, who, what);
}

}  // namespace fabric::plugin
