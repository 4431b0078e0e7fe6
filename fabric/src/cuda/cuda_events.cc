// Events of the cuda driver, and what passes between its streams and the host (stream_signals.h).
#include "cuda/capture_edges.h"
#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"

namespace fabric::cuda {
namespace {

cudaStream_t raw_stream(StreamHandle stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t raw_event(EventHandle event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

EventHandle CudaDriver::create_event(int ordinal, bool timing) {
  use_device(ordinal);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming),
        "cudaEventCreateWithFlags");
  return event;
}

void CudaDriver::destroy_event(EventHandle event) {
  check(cudaEventDestroy(raw_event(event)), "cudaEventDestroy");
}

void CudaDriver::record(EventHandle event, StreamHandle stream) {
  check(cudaEventRecord(raw_event(event), raw_stream(stream)), "cudaEventRecord");
}

void CudaDriver::wait(StreamHandle stream, EventHandle event) {
  check(cudaStreamWaitEvent(raw_stream(stream), raw_event(event), 0), "cudaStreamWaitEvent");
}

void CudaDriver::wait_captured(StreamHandle stream, EventHandle event) {
  wait(stream, event);
  drop_implied_dependencies(raw_stream(stream));
}

bool CudaDriver::query_event(EventHandle event) {
  cudaError_t status = cudaEventQuery(raw_event(event));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(status, "cudaEventQuery");
  return true;
}

bool CudaDriver::synchronize_event(EventHandle event, int64_t timeout_ms) {
  return wait_until([](void* e) { return cudaEventQuery(static_cast<cudaEvent_t>(e)); }, event,
                    timeout_ms, "waiting for an event");
}

double CudaDriver::elapsed_ms(EventHandle start, EventHandle stop) {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, raw_event(start), raw_event(stop)), "cudaEventElapsedTime");
  return ms;
}

void CudaDriver::notify(StreamHandle stream, std::function<void()> fn) {
  signals_.notify(use_device_of(stream), raw_stream(stream), std::move(fn));
}

void CudaDriver::hold(StreamHandle stream, std::shared_ptr<Gate> gate) {
  signals_.hold(use_device_of(stream), raw_stream(stream), gate);
}

}  // namespace fabric::cuda
