// The recorded graph: one Node an operator call that needs gradients, AutogradMeta on the tensors.
// record.cc makes nodes, leaf.cc the leaves' part, the engine walks, gradient formulas read through
// GradCall.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "autograd/hooks.h"
#include "core/small_vector.h"
#include "core/tensor.h"
#include "dispatch/op_table.h"

namespace weft {

class Node;
class Checkpoint;

/// Where the gradient of one input goes: a slot of the node that made it, or a leaf's accumulator.
struct Edge {
  Ref<Node> node;  // null: the input needs no gradient
  int slot = 0;
  Tensor leaf;  // keeps a leaf alive while the graph refers to it
};

/// A tensor kept for the backward pass, with the version it had: an alias without history, so that
/// a node keeps other nodes alive by its edges only.
struct SavedTensor {
  Tensor tensor;
  uint32_t version = 0;
  uint32_t place = 0;  ///< not 0: left out, the number of its place in the node's checkpoint
};

struct InputMeta {
  Dims shape;
  DType dtype = DType::kF32;
  uint16_t device = 0;
  bool present = false;
};

using TensorHook =
    std::function<Tensor(const Tensor& grad)>;  // returns a replacement or an undefined tensor
using LeafHook = std::function<void()>;         // after the leaf's gradient is complete

class Node : public RefCounted {
 public:
  Op op = Op::kCount;  // kCount: leaf accumulator or custom
  GradFn formula = nullptr;
  /// Custom nodes (collectives): grads of outputs -> grads of inputs.
  std::function<void(std::span<Tensor> grads, std::span<Tensor> results)> custom;
  std::shared_ptr<void> held;  // what the formula of a plugin's operator needs until then
  const char* name = "";
  uint64_t sequence = 0;     // grows with creation: later nodes run first
  uint16_t device = 0;       // where it runs
  Stream* stream = nullptr;  // the stream that the forward ran on; the formula runs there too
  /// Of a joint node (autograd/joint.h): the streams of its forward, one a device it touched.
  std::vector<Stream*> streams;
  int outputs = 1;             // visible outputs = gradient slots
  SmallVector<Edge, 3> edges;  // one for each flattened input
  SmallVector<InputMeta, 3> inputs;
  SmallVector<InputMeta, 1> output_metas;
  SmallVector<SavedTensor, 3> saved_inputs;   // by flattened input; undefined when not kept
  SmallVector<SavedTensor, 2> saved_outputs;  // by output
  Ref<Checkpoint> checkpoint;                 // where tensors that were left out come from
  SmallVector<double, 8> words;
  uint16_t at[kMaxArgs] = {};
  uint16_t length[kMaxArgs] = {};
  TensorImpl* leaf = nullptr;  // accumulator of this leaf (kept alive by the edges to it)
  struct SlotHook {
    int slot;
    TensorHook hook;
  };
  HookList<SlotHook> hooks;  // run in order on the gradient that arrives at their slot
  bool released = false;     // saved tensors were freed by a backward pass

  Node();
  ~Node();  ///< frees a long chain of nodes iteratively, so deep graphs do not exhaust the stack
  void release_saved();
};

struct AutogradMeta {
  // Of a leaf; leaf_mutex() (autograd/leaf.h) guards the first four.
  Tensor grad;
  bool grad_stale = false;  // grad's memory is to be overwritten by the next accumulation (arenas)
  const char* grad_closed = nullptr;  // why nothing may be accumulated now
  Ref<Node> accumulator;              // made before the leaf's flag is first set
  HookList<LeafHook> leaf_hooks;      // run in order after accumulation into grad
  // Of a result
  Ref<Node> grad_fn;
  int output_index = 0;
};

inline AutogradMeta& autograd_meta(const Tensor& t) { return t->autograd.make(); }
bool is_leaf(const Tensor& t);
/// Where the gradient of `t` goes: a slot of the node that made it, or the leaf's accumulator.
Edge gradient_edge(const Tensor& t);
/// Runs `hook` on each gradient that reaches `t`, before it is used; a defined result replaces it.
HookHandle add_tensor_hook(const Tensor& t, TensorHook hook);

/// Thread-local switch; true at start. dispatch() records only when on.
bool grad_enabled();
class NoGradGuard {
 public:
  explicit NoGradGuard(bool enabled = false);
  ~NoGradGuard();

 private:
  bool previous_;
};
void set_grad_enabled(bool enabled);

}  // namespace weft
