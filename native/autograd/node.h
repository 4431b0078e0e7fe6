// The recorded graph: one Node an operator call that needs gradients, AutogradMeta on the tensors.
// dispatch() records, the engine walks, gradient formulas read through GradCall.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/small_vector.h"
#include "core/tensor.h"
#include "dispatch/op_table.h"

namespace weft {

class Node;

/// Where the gradient of one input goes: a slot of the node that made it, or a leaf's accumulator.
struct Edge {
  Ref<Node> node;  // null: the input needs no gradient
  int slot = 0;
  Tensor leaf;  // keeps a leaf alive while the graph refers to it
};

/// A tensor kept for the backward pass, with the version it had.
struct SavedTensor {
  Tensor tensor;
  uint32_t version = 0;
  bool is_output = false;
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
  const char* name = "";
  uint64_t sequence = 0;       // grows with creation: later nodes run first
  uint16_t device = 0;         // where it runs
  Stream* stream = nullptr;    // the stream that the forward ran on; the formula runs there too
  int outputs = 1;             // visible outputs = gradient slots
  SmallVector<Edge, 3> edges;  // one for each flattened input
  SmallVector<InputMeta, 3> inputs;
  SmallVector<InputMeta, 1> output_metas;
  SmallVector<SavedTensor, 3> saved_inputs;   // by flattened input; undefined when not kept
  SmallVector<SavedTensor, 2> saved_outputs;  // by output
  SmallVector<double, 8> words;
  uint16_t at[kMaxArgs] = {};
  uint16_t length[kMaxArgs] = {};
  TensorImpl* leaf = nullptr;  // accumulator of this leaf (kept alive by the edges to it)
  std::vector<std::pair<int, TensorHook>>
      hooks;              // by slot, run in order on the gradient that arrives
  bool released = false;  // saved tensors were freed by a backward pass

  Node();
  ~Node();  ///< frees a long chain of nodes iteratively, so deep graphs do not exhaust the stack
  void release_saved();
};

struct AutogradMeta {
  Tensor grad;              // leaf only
  bool grad_stale = false;  // grad's memory is to be overwritten by the next accumulation (arenas)
  Ref<Node> grad_fn;        // non-leaf
  int output_index = 0;
  Ref<Node> accumulator;             // leaf: made on first use in a graph
  std::vector<LeafHook> leaf_hooks;  // leaf: run in order after accumulation into grad
};

AutogradMeta& autograd_meta(const Tensor& t);  // made when missing
bool is_leaf(const Tensor& t);
/// Asks for (or ends) gradients of a leaf. Makes its accumulator now, so that several threads may
/// then record graphs over the same leaf. Throws UsageError on a non-leaf, DtypeError on a dtype
/// that is not floating.
void set_requires_grad(const Tensor& leaf, bool requires_grad);
Edge gradient_edge(const Tensor& t);
/// Runs `hook` on each gradient that reaches `t`, before it is used; a defined result replaces it.
void add_tensor_hook(const Tensor& t, TensorHook hook);
/// Runs `hook` after each backward pass has accumulated into the leaf's grad. Throws UsageError on
/// a non-leaf.
void add_leaf_hook(const Tensor& leaf, LeafHook hook);

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
