// fused::swiglu(gate, up) = gate * sigmoid(gate) * up: a whole operator plugin in CUDA, with its gradient,
// for f32, f16 and bf16, computed in f32. weft loads it by the C interface alone; docs/plugins.md
// points here as the example for operators on GPUs.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "fabric/plugin_abi.h"

namespace {

const WeftHost* host;

__device__ float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

// Each computes one element from those of the operands behind the result.
struct Forward {  // gate, up
  static constexpr int operands = 3;
  static __device__ float of(const float* v) { return v[0] * sigmoid(v[0]) * v[1]; }
};
struct GateGradient {  // arrived, gate, up
  static constexpr int operands = 4;
  static __device__ float of(const float* v) {
    const float s = sigmoid(v[1]);
    return v[0] * v[2] * s * (1.0f + v[1] * (1.0f - s));
  }
};
struct UpGradient {  // arrived, gate
  static constexpr int operands = 3;
  static __device__ float of(const float* v) { return v[0] * v[1] * sigmoid(v[1]); }
};

template <typename T>
__device__ T* at(const WeftIterator& it, int operand, int64_t element) {
  char* data = static_cast<char*>(it.data[operand]);
  if (it.contiguous) return reinterpret_cast<T*>(data) + element;
  for (int d = 0; d < it.ndim; ++d) {
    data += element % it.shape[d] * it.strides[operand][d];
    element /= it.shape[d];
  }
  return reinterpret_cast<T*>(data);
}

template <typename T, typename Function>
__global__ void apply(const __grid_constant__ WeftIterator it) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < it.count;
       i += step) {
    float v[Function::operands - 1];
#pragma unroll
    for (int o = 1; o < Function::operands; ++o) {
      v[o - 1] = static_cast<float>(*at<const T>(it, o, i));
    }
    *at<T>(it, 0, i) = static_cast<T>(Function::of(v));
  }
}

template <typename T, typename Function>
void launch(const WeftIterator& it, void* stream) {
  constexpr int threads = 256, most = 4096;
  const int64_t blocks = (it.count + threads - 1) / threads;
  apply<T, Function><<<static_cast<unsigned>(blocks < most ? blocks : most), threads, 0,
                       static_cast<cudaStream_t>(stream)>>>(it);
}

WeftStatus fail(WeftStatus status, const char* why) {
  host->set_error(why);
  return status;
}

bool is(WeftDtype dtype, int code, int bits) { return dtype.code == code && dtype.bits == bits; }

/// Enqueues Function over `operands`, of which the first is the result; the others in its dtype.
template <typename Function>
WeftStatus run(const WeftOperatorCall* call, const WeftTensor** operands) {
  const WeftOperatorHost& ops = *host->operators;
  const WeftDtype dtype = operands[0]->dtype;
  for (int i = 1; i < Function::operands; ++i) {
    const WeftStatus status = ops.convert(call, operands[i], dtype, &operands[i]);
    if (status != WEFT_OK) return status;
  }
  WeftIterator it;
  it.size = sizeof it;
  const WeftStatus status = ops.iterate(call, Function::operands, operands, &it);
  if (status != WEFT_OK || it.count == 0) return status;
  if (is(dtype, 2, 32)) {
    launch<float, Function>(it, call->stream);
  } else if (is(dtype, 2, 16)) {
    launch<__half, Function>(it, call->stream);
  } else {
    launch<__nv_bfloat16, Function>(it, call->stream);
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? WEFT_OK : fail(WEFT_ERROR_DEVICE, cudaGetErrorString(error));
}

WeftStatus forward(void*, const WeftOperatorCall* call) {
  const WeftTensor* operands[3] = {nullptr, call->input[0], call->input[1]};
  int32_t ndim;
  int64_t shape[WEFT_MAX_DIMS];
  WeftDtype dtype;
  WeftStatus status = host->operators->broadcast(call, 2, operands + 1, &ndim, shape, &dtype);
  if (status != WEFT_OK) return status;
  if (!is(dtype, 2, 32) && !is(dtype, 2, 16) && !is(dtype, 4, 16)) {
    return fail(WEFT_ERROR_ARGUMENT, "gate and up must be f32, f16 or bf16 together");
  }
  status = host->operators->output(call, 0, ndim, shape, dtype, &operands[0]);
  return status == WEFT_OK ? run<Forward>(call, operands) : status;
}

WeftStatus gradient(void*, const WeftOperatorCall* call) {
  const WeftTensor* arrived = call->arrived[0];
  for (uint32_t i = 0; i < 2; ++i) {
    if (!call->needed[i]) continue;
    const WeftTensor* operands[4] = {nullptr, arrived, call->input[0], call->input[1]};
    WeftStatus status = host->operators->output(call, i, arrived->ndim, arrived->shape,
                                                arrived->dtype, &operands[0]);
    if (status != WEFT_OK) return status;
    status = i == 0 ? run<GateGradient>(call, operands) : run<UpGradient>(call, operands);
    if (status != WEFT_OK) return status;
  }
  return WEFT_OK;
}

WeftStatus open_plugin(const WeftHost* given, WeftRegistration* registration) {
  host = given;
  WeftOperator op = {};
  op.size = sizeof op;
  op.schema = "fused::swiglu(Tensor gate, Tensor up) -> 1";
  op.cuda = &forward;
  op.gradient = &gradient;
  op.keep_inputs = 0b11;
  return host->register_operator(registration, &op);
}

}  // namespace

extern "C" {
const WeftPlugin weft_plugin = {
    sizeof(WeftPlugin), WEFT_ABI_MAJOR, 1, 0, "swiglu", "1.0.0", &open_plugin, nullptr,
};
}
