// Mixed precision: while a region is open on a thread, operators called by that thread take their
// operands in the dtype of their class (autocast.def). dispatch() asks on() before each call;
// native/binding and the trainer's workers open regions, autograd/checkpoint restores them.
//
// Design. The switch is thread-local, like the recording of gradients. A cast is an ordinary
// recorded to_dtype, so gradients come back in the dtype of the leaf. Casts of leaves that require
// gradients are kept until the outermost region of the thread ends, the leaf changes, or a capture
// begins or ends: weights are cast once a step. Gradient formulas call typed forwards, not
// dispatch(), so a backward pass runs in the dtypes that were recorded, inside a region or not.
//  - A kept cast is used again only with recording as it was, on the stream that made it and in the
//    capture that made it, so no edge between streams and no memory of a graph can be missing.
//  - A region may be told its weights (cast_ahead): those that the thread's region before cast are then cast in
//    one launch, into memory that to_dtype takes in place of a launch of its own (take_cast). One whose weight, stream
//    or capture is another by then is left.
//  - What breaks it: writing a weight's memory behind the operators' back inside a region.
#pragma once

#include <cstdint>
#include <span>

#include "dispatch/op_table.h"

namespace weft::autocast {

/// kNone: no region. kOff: one that casts nothing, inside another or alone.
enum class Mode : uint8_t { kNone, kOff, kF16, kBF16 };

inline constinit thread_local Mode t_mode = Mode::kNone;

/// Does the open region cast?
inline bool on() { return t_mode > Mode::kOff; }
inline Mode mode() { return t_mode; }
/// Of the region that on() told of.
inline DType low_dtype() { return t_mode == Mode::kF16 ? DType::kF16 : DType::kBF16; }
/// Opens a region on this thread; returns what leave() is to go back to.
Mode enter(Mode mode);
/// Closes the innermost region; the outermost one drops the kept casts.
void leave(Mode previous);

/// Casts those of `weights` that the region before on this thread cast, where the open region casts and has
/// not yet. Enqueues on the current stream of their device.
void cast_ahead(std::span<const Tensor> weights);
/// What cast_ahead() made of `t` in `dtype`, once; undefined where there is none that holds still.
Tensor take_cast(const Tensor& t, DType dtype);

class Region {
 public:
  explicit Region(Mode mode) : previous_(enter(mode)) {}
  ~Region() { leave(previous_); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

 private:
  Mode previous_;
};

/// Casts the operands of `call` as `cls` asks in the open region.
void cast_operands(OpCall& call, AutocastClass cls);

}  // namespace weft::autocast
