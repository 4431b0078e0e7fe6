// Activation checkpoints for TypeScript. src/autograd/checkpoint.ts calls these.
#include "autograd/checkpoint.h"

#include <memory>

#include "binding/entry.h"
#include "binding/tensor/hook.h"

namespace weft::binding {
namespace {

thread_local std::unique_ptr<CheckpointScope> t_scope;

// enterCheckpoint(again, count): void
napi_value enter_checkpoint(Frame& f) {
  if (checkpoints::open() != nullptr) fail(ErrorCode::kUsage, "a checkpoint is open already");
  const uint64_t count = f.integer(1, kCallWords);
  std::vector<Tensor> inputs;
  for (uint64_t i = 0; i < count; ++i) {
    inputs.push_back(handles::get(static_cast<handles::Handle>(f.words()[i])));
  }
  t_scope =
      std::make_unique<CheckpointScope>(make_ref<Checkpoint>(make_again(f, 0), std::move(inputs)));
  return nullptr;
}

// leaveCheckpoint(): void
napi_value leave_checkpoint(Frame&) {
  t_scope.reset();
  return nullptr;
}

// checkpointOpen(): boolean
napi_value checkpoint_open(Frame& f) { return make_bool(f.env, checkpoints::open() != nullptr); }

constexpr Function kFunctions[] = {
    {"enterCheckpoint", entry<enter_checkpoint>},
    {"leaveCheckpoint", entry<leave_checkpoint>},
    {"checkpointOpen", entry<checkpoint_open>},
};

}  // namespace

FunctionList checkpoint_functions() { return kFunctions; }

}  // namespace weft::binding
