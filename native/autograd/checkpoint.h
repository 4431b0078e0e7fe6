// Activation checkpointing (Chen et al. 2016): a function whose intermediate results are not kept for
// the backward pass but computed again in it. src/autograd/checkpoint.ts opens one around the user's
// function; record.cc asks take() for each tensor that it would save, node.cc fetch() where a formula
// needs one.
//
// Design. The graph of the forward stays as it was recorded: edges, hooks, order and streams are those
// without a checkpoint, so gradients have the same bits. What changes is saved tensors: those that the
// function made are left out, with a number each. The first formula that needs one runs the function
// again, with recording on, the same draws, autocast mode and streams; operators then leave what they
// would save, in the same order, in the numbered places. A place is emptied when its node is done, so a
// segment's memory falls while its backward goes on. Nodes of the second run are never run themselves.
//  - Tensors from outside (weights, inputs) are saved as ever: they live anyway, and their versions are
//    checked.
//  - The function runs again on the thread that called backward(): nodes with places go there, as those
//    with hooks do. Nothing waits for a device.
//  - What breaks it: a function that takes another path when it runs again (UsageError where that shows
//    in what is saved), or reads what was changed meanwhile.
#pragma once

#include <functional>
#include <span>
#include <unordered_set>
#include <vector>

#include "autograd/node.h"
#include "dispatch/autocast.h"
#include "random/draw_log.h"

namespace weft {

class Checkpoint : public RefCounted {
 public:
  using Again = std::function<void(std::span<const Tensor> inputs)>;
  /// `again` runs the function on the inputs and lets go of what it made.
  Checkpoint(Again again, std::vector<Tensor> inputs);

  /// What a node of this thread is to keep in place of `saved`: `saved` itself, or a numbered place.
  SavedTensor take(Node& node, SavedTensor saved);
  /// The results of `call` that own memory of their own were made here.
  void note_made(const OpCall& call);
  /// What lies in the place `number`; runs the function again when it is empty.
  const SavedTensor& fetch(uint32_t number);
  /// The node of the place is done.
  void drop(uint32_t number) { places_[number - 1].saved = {}; }

 private:
  friend class CheckpointScope;
  struct Place {
    Dims shape;
    DType dtype;
    bool left_out;
    SavedTensor saved;
  };
  void run_again();
  [[noreturn]] void fail_other_path() const;

  Again again_;
  std::vector<Tensor> inputs_;
  std::vector<Stream*> streams_;
  autocast::Mode mode_;
  DrawLog draws_;
  std::vector<Place> places_;
  std::unordered_set<const Storage*> made_;  // while the function runs first
  bool again_now_ = false;
  size_t next_ = 0;  // place of the next saved tensor
};

namespace checkpoints {
inline constinit thread_local Checkpoint* t_open = nullptr;
/// The one whose function runs on this thread now, for the first time or again.
inline Checkpoint* open() { return t_open; }
}  // namespace checkpoints

/// While it lives, operators of this thread belong to the checkpoint's function.
class CheckpointScope {
 public:
  explicit CheckpointScope(Ref<Checkpoint> checkpoint);
  ~CheckpointScope();
  CheckpointScope(const CheckpointScope&) = delete;
  CheckpointScope& operator=(const CheckpointScope&) = delete;

 private:
  Ref<Checkpoint> checkpoint_;
  DrawLog* draws_before_;
};

}  // namespace weft
