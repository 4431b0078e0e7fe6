// One JavaScript environment (the main thread or a worker) as the binding sees it. Made by addon.cc
// at load, handed to every entry as its data pointer, used on the environment's own thread only.
//
// Process-wide things (devices, handles, groups) live below the binding; here lies only what
// belongs to one environment: the call buffer, the error factory, pending promises, current
// streams, open works, an open block of coalesced calls.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace weft::binding {

class CompletionQueue;
struct CoalesceBlock;
class WorkTable;

inline constexpr size_t kCallWords = 4096;

struct Environment {
  explicit Environment(napi_env env);
  ~Environment();

  napi_env env;
  uint32_t id;  // owner of the handles that this environment makes; from 1
  std::thread::id thread = std::this_thread::get_id();
  double* words = nullptr;  // the call buffer, kCallWords long
  napi_ref words_ref = nullptr;
  napi_ref error_factory = nullptr;
  std::shared_ptr<CompletionQueue> completions;
  std::unique_ptr<WorkTable> works;
  std::unique_ptr<CoalesceBlock> block;  // the open coalesce() block
  std::unordered_map<uint16_t, std::unique_ptr<StreamGuard>> current_streams;
};

}  // namespace weft::binding
