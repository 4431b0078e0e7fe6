// The operator table and the dispatcher. One row an operator: its schema, its forward, its gradient
// formula, what the formula needs kept, and where its tensors may live. native/ops/*.cc fill the
// rows, one subject a file; JavaScript and C++ both call through dispatch().
//
// Order of a call: user override -> device policy -> casts of mixed precision (autocast.h) ->
// autograd bookkeeping -> forward. The path
// takes no lock, hashes no string and allocates only the outputs (and a node when gradients are
// recorded).
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "core/small_vector.h"
#include "core/tensor.h"

namespace weft {

enum class Op : uint16_t {
#define WEFT_OP(name, schema, ...) name,
#include "dispatch/operators.def"
#undef WEFT_OP
  kCount
};
inline constexpr int kOpCount = static_cast<int>(Op::kCount);
/// Ids below it may be called: the built-in ones, Op::kCount (no operator: an error), those that plugins
/// brought so far.
int op_count();
const char* op_name(Op op);
const char* op_schema(Op op);

enum class ArgKind : uint8_t {
  kTensor,
  kOptionalTensor,
  kTensorList,
  kFloat,
  kInt,
  kInts,
  kBool,
  kDType,
  kDevice
};

inline constexpr int kMaxArgs = 12;

/// The arguments and results of one call, decoded by the schema. Argument `i` counts in schema
/// order.
class OpCall {
 public:
  explicit OpCall(Op op) : op(op) {}

  Op op;
  SmallVector<Tensor, 4>
      tensors;                    ///< all tensor arguments, lists flattened; undefined where absent
  SmallVector<double, 12> words;  ///< all other arguments, lists flattened
  uint16_t at[kMaxArgs] = {};     ///< argument -> first index in tensors or words
  uint16_t length[kMaxArgs] = {};  ///< how many entries it has there
  SmallVector<Tensor, 3> outputs;  ///< visible ones first; further ones are kept for the gradient

  const Tensor& tensor(int i) const { return tensors[at[i]]; }
  std::span<const Tensor> list(int i) const { return {tensors.data() + at[i], length[i]}; }
  double number(int i) const { return words[at[i]]; }
  int64_t integer(int i) const { return static_cast<int64_t>(words[at[i]]); }
  bool flag(int i) const { return words[at[i]] != 0; }
  DType dtype(int i) const { return static_cast<DType>(static_cast<int>(words[at[i]])); }
  Device& device(int i) const;
  Dims dims(int i) const;
  void result(Tensor t) { outputs.push_back(std::move(t)); }

  /// Appends arguments in schema order (from C++ and from the binding); throws UsageError on a
  /// wrong kind.
  void add_tensor(Tensor t);
  void add_list(std::span<const Tensor> list);
  void add_number(double v);
  void add_dims(const Dims& dims);
  int arguments() const { return count_; }

 private:
  uint8_t count_ = 0;
};

class Node;

/// What a gradient formula sees. Input and output indices count flattened tensors of the call.
class GradCall {
 public:
  GradCall(Node& node, std::span<Tensor> grads, std::span<Tensor> results)
      : node_(node), grads_(grads), results_(results) {}

  /// Gradient of visible output `i`: zeros where none came, undefined behind output 0 with takes_missing.
  const Tensor& grad(int i = 0) const { return grads_[i]; }
  bool needs(int input) const;  ///< is the gradient of this input asked for
  void set(int input, Tensor gradient) { results_[input] = std::move(gradient); }
  /// A kept input or output; throws UsageError naming operator and writer when it was changed in
  /// place.
  Tensor input(int i) const;
  Tensor output(int i) const;
  int inputs() const;  ///< flattened tensor arguments
  const Dims& input_shape(int i) const;
  DType input_dtype(int i) const;
  Device& input_device(int i) const;
  bool has_input(int i) const;  ///< false for an absent optional tensor
  // Other arguments, by schema position
  double number(int arg) const;
  int64_t integer(int arg) const;
  bool flag(int arg) const;
  Dims dims(int arg) const;
  const Node& node() const { return node_; }

 private:
  Node& node_;
  std::span<Tensor> grads_;
  std::span<Tensor> results_;
};

/// What an open region of mixed precision does with the operands: autocast.def.
enum class AutocastClass : uint8_t { keep, low, f32, rounded, rounded_sum, inside };

enum class DevicePolicy : uint8_t {
  kSame,  ///< all tensors on one device, else DeviceError naming both
  kAny,   ///< the operator moves data or checks by itself
};

using ForwardFn = void (*)(OpCall& call);
using GradFn = void (*)(GradCall& call);

inline constexpr uint32_t kKeepNone = 0;
inline constexpr uint32_t kKeepAll = ~0u;

struct OpRow {
  ForwardFn forward = nullptr;
  GradFn gradient = nullptr;          ///< nullptr: results never require gradients
  uint32_t keep_inputs = kKeepNone;   ///< bit i: flattened input i is saved for the formula
  uint32_t keep_outputs = kKeepNone;  ///< bit i: output i (hidden ones too) is saved
  DevicePolicy policy = DevicePolicy::kSame;
  /// Gradients of outputs behind the first that did not come are undefined for the formula, not zeros.
  bool takes_missing = false;
};

/// Fills a row; called once per operator by the register_*_ops functions of native/ops.
void implement(Op op, const OpRow& row);
/// Replaces the forward of `op` for everybody (nullptr restores it); gradients stay.
void set_override(Op op, ForwardFn forward);
/// Runs the call: outputs are in call.outputs, visible ones first.
void dispatch(OpCall& call);
/// Results that the caller sees; kAnyOutputs: as many as the call makes ("-> *").
int visible_outputs(Op op);
inline constexpr int kAnyOutputs = -1;
std::span<const ArgKind> argument_kinds(Op op);
bool writes_first_argument(Op op);

/// C++ convenience over dispatch() for one result: arguments in schema order.
struct OpArg {
  enum { kT, kL, kN, kD } kind;
  Tensor tensor;
  std::vector<Tensor> list;
  double number = 0;
  Dims dims;
  OpArg(Tensor t) : kind(kT), tensor(std::move(t)) {}
  OpArg(std::vector<Tensor> l) : kind(kL), list(std::move(l)) {}
  OpArg(double n) : kind(kN), number(n) {}
  OpArg(int n) : kind(kN), number(n) {}
  OpArg(int64_t n) : kind(kN), number(static_cast<double>(n)) {}
  OpArg(bool n) : kind(kN), number(n) {}
  OpArg(DType t) : kind(kN), number(static_cast<int>(t)) {}
  OpArg(Dims d) : kind(kD), dims(d) {}
};
Tensor call(Op op, std::initializer_list<OpArg> args);

/// Registers every operator and every kernel table of this build, once. Thread safe.
void ensure_registered();

}  // namespace weft
