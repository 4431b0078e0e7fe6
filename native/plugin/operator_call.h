// One call of a plugin's operator as both sides see it: the struct of the C ABI and, behind it, the
// tensors that the host's functions need when the plugin hands it back. operator_run.cc makes them, on
// its stack; WeftOperatorHost's functions take them.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>

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
  /// `library` must stay good while the call runs.
  CallView(const char* name, Device& device, const std::shared_ptr<void>& library);
  ~CallView();
  CallView(const CallView&) = delete;
  CallView& operator=(const CallView&) = delete;

  const WeftTensor* add(const Tensor& tensor);
  const WeftTensor* add_shape(const Dims& shape, DType dtype);
  /// The view that a plugin gave back; throws when it is none of this call.
  const TensorView& known_view(const WeftTensor* view) const;
  /// The tensor behind a struct that a plugin gave back; throws when it is none of this call.
  const Tensor& tensor_of(const WeftTensor* view) const;

  const char* name;
  Device& device;
  const std::shared_ptr<void>& library;
  WeftArgument arguments_[kMaxArgs];
  SmallVector<const WeftTensor*, 4> inputs_, kept_, arrived_;
  SmallVector<uint8_t, 8> needed_;
  SmallVector<Tensor, 4> made;  // by result; in a gradient by input

 private:
  static constexpr size_t kNear = 8;

  const WeftTensor* place(const Tensor& tensor, const Dims& shape, DType dtype, Device& on);

  alignas(TensorView) std::byte near_[kNear * sizeof(TensorView)];  // the first views of a call
  size_t views_ = 0;
  std::unique_ptr<std::deque<TensorView>> far_;  // those behind
};

const WeftOperatorHost& operator_host();

}  // namespace weft::plugin
