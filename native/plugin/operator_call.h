// One call of a plugin's operator as both sides see it: the struct of the C ABI and, behind it, the
// tensors that the host's functions need when the plugin hands it back. registrar.cc makes them, on
// its stack; WeftOperatorHost's functions take them.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "dispatch/op_table.h"
#include "fabric/plugin_abi.h"

namespace weft::plugin {

/// A tensor with the struct that describes it; neither may move.
struct TensorView : WeftTensor {
  TensorView(const Tensor& tensor, const Dims& shape, DType dtype, Device& device);
  TensorView(const TensorView&) = delete;
  TensorView& operator=(const TensorView&) = delete;

  Tensor tensor;  // undefined where only the shape is known
  Dims shape_;
  Dims strides_;
};

struct CallView : WeftOperatorCall {
  CallView(const char* name, Device& device, std::shared_ptr<void> library);

  const WeftTensor* add(const Tensor& tensor);
  const WeftTensor* add_shape(const Dims& shape, DType dtype);
  /// The view that a plugin gave back; throws when it is none of this call.
  const TensorView& known_view(const WeftTensor* view) const;
  /// The tensor behind a struct that a plugin gave back; throws when it is none of this call.
  const Tensor& tensor_of(const WeftTensor* view) const;

  const char* name;
  Device& device;
  std::shared_ptr<void> library;
  std::deque<TensorView> views;
  std::vector<WeftArgument> arguments_;
  std::vector<double> numbers_;
  std::vector<const WeftTensor*> inputs_, kept_, arrived_;
  std::vector<uint8_t> needed_;
  std::vector<Tensor> made;  // by result; in a gradient by input
};

const WeftOperatorHost& operator_host();

}  // namespace weft::plugin
