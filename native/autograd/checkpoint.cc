// See checkpoint.h.
#include "autograd/checkpoint.h"

#include <deque>
#include <utility>

namespace weft {

Checkpoint::Checkpoint(Again again, std::vector<Tensor> inputs)
    : again_(std::move(again)),
      inputs_(std::move(inputs)),
      streams_(chosen_streams()),
      mode_(autocast::mode()) {}

void Checkpoint::fail_other_path() const {
  fail(ErrorCode::kUsage,
       "checkpoint: the function took another path when it ran again in the backward pass; what it "
       "does may depend on its inputs and random draws only");
}

SavedTensor Checkpoint::take(Node& node, SavedTensor saved) {
  const size_t at = next_++;
  if (!again_now_) {
    const bool left_out = made_.contains(saved.tensor->storage.get());
    places_.push_back({saved.tensor.shape(), saved.tensor.dtype(), left_out, {}});
    if (!left_out) return saved;
    node.checkpoint = Ref<Checkpoint>(this);
    return {Tensor(), saved.version, static_cast<uint32_t>(at + 1)};
  }
  if (at >= places_.size()) fail_other_path();
  Place& place = places_[at];
  if (!(place.shape == saved.tensor.shape()) || place.dtype != saved.tensor.dtype()) {
    fail_other_path();
  }
  if (place.left_out) place.saved = std::move(saved);
  return {};
}

void Checkpoint::note_made(const OpCall& call) {
  if (again_now_) return;
  for (const Tensor& out : call.outputs) {
    if (!out) continue;
    bool given = false;
    for (const Tensor& in : call.tensors) given = given || (in && in->storage == out->storage);
    if (!given) made_.insert(out->storage.get());
  }
}

const SavedTensor& Checkpoint::fetch(uint32_t number) {
  Place& place = places_[number - 1];
  if (!place.saved.tensor) run_again();
  if (!place.saved.tensor) fail_other_path();
  return place.saved;
}

void Checkpoint::run_again() {
  if (checkpoints::open() != nullptr) {
    fail(ErrorCode::kUsage,
         "checkpoint: backward() was called inside the function of a checkpoint");
  }
  Ref<Checkpoint> self(this);
  NoGradGuard record(true);
  autocast::Region region(mode_ == autocast::Mode::kNone ? autocast::Mode::kOff : mode_);
  std::deque<StreamGuard> streams;
  for (Stream* stream : streams_) streams.emplace_back(*stream);
  struct Again {
    Checkpoint& checkpoint;
    explicit Again(Checkpoint& c) : checkpoint(c) {
      c.again_now_ = c.draws_.replay = true;
      c.next_ = c.draws_.next = 0;
    }
    ~Again() { checkpoint.again_now_ = false; }
  } again(*this);
  CheckpointScope scope(self);
  again_(inputs_);
  if (next_ != places_.size()) fail_other_path();
}

CheckpointScope::CheckpointScope(Ref<Checkpoint> checkpoint)
    : checkpoint_(std::move(checkpoint)), draws_before_(set_draw_log(&checkpoint_->draws_)) {
  checkpoints::t_open = checkpoint_.get();
}

CheckpointScope::~CheckpointScope() {
  checkpoints::t_open = nullptr;
  set_draw_log(draws_before_);
  checkpoint_->made_.clear();
}

}  // namespace weft
