// Graph capture and replay of the cuda driver. Streams that join the captured one by events are
// captured with it; what a capture may not do ends it with a CudaError that says so.
#include <mutex>

#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"

namespace fabric::cuda {

// Relaxed: the allocator maps memory and other threads enqueue while a capture goes on. What must
// not happen in one is refused above this layer (fabric/graph.h), by name.
void CudaDriver::begin_capture(StreamHandle stream) {
  use_device_of(stream);
  std::lock_guard lock(capture_gate_);
  check(cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeRelaxed),
        "cudaStreamBeginCapture");
}

bool CudaDriver::is_capturing(StreamHandle stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

GraphHandle CudaDriver::end_capture(StreamHandle stream) {
  use_device_of(stream);
  cudaGraph_t graph = nullptr;
  {
    std::lock_guard lock(capture_gate_);
    check(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph), "cudaStreamEndCapture");
  }
  cudaGraphExec_t exec = nullptr;
  cudaError_t made = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "cudaGraphInstantiate");
  return exec;
}

void CudaDriver::abandon_capture(StreamHandle stream) noexcept {
  cudaGraph_t graph = nullptr;
  std::lock_guard lock(capture_gate_);
  if (cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph) == cudaSuccess &&
      graph != nullptr) {
    cudaGraphDestroy(graph);
  }
  cudaGetLastError();  // a broken capture is what is being cleaned up
}

void CudaDriver::launch_graph(GraphHandle graph, StreamHandle stream) {
  use_device_of(stream);
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)),
        "cudaGraphLaunch");
}

void CudaDriver::destroy_graph(GraphHandle graph) {
  check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "cudaGraphExecDestroy");
}

}  // namespace fabric::cuda
