// See stream_signals.h.
#include "cuda/stream_signals.h"

#include <utility>

#include "cuda/driver_api.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace fabric::cuda {
namespace {

bool captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

[[noreturn]] void refuse_captured(int ordinal) {
  fail(ErrorCode::kUsage, "cuda:%d: a captured stream cannot notify the host", ordinal);
}

}  // namespace

cudaEvent_t StreamSignals::take_event(int ordinal) {
  {
    std::lock_guard lock(pools_);
    auto& free_list = events_[static_cast<size_t>(ordinal)];
    if (!free_list.empty()) {
      cudaEvent_t event = free_list.back();
      free_list.pop_back();
      return event;
    }
  }
  use_device(ordinal);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return event;
}

void StreamSignals::give_event(int ordinal, cudaEvent_t event) {
  std::lock_guard lock(pools_);
  events_[static_cast<size_t>(ordinal)].push_back(event);
}

uint32_t* StreamSignals::take_word() {
  {
    std::lock_guard lock(pools_);
    if (!words_.empty()) {
      uint32_t* word = words_.back();
      words_.pop_back();
      return word;
    }
  }
  uint32_t* word = nullptr;
  check(cudaHostAlloc(reinterpret_cast<void**>(&word), sizeof(uint32_t),
                      cudaHostAllocPortable | cudaHostAllocMapped),
        "cudaHostAlloc");
  return word;
}

void StreamSignals::give_word(uint32_t* word) {
  std::lock_guard lock(pools_);
  words_.push_back(word);
}

void StreamSignals::notify(int ordinal, cudaStream_t stream, std::function<void()> fn) {
  use_device(ordinal);
  cudaEvent_t event = take_event(ordinal);
  try {
    std::shared_lock lock(captures_);
    if (captured(stream)) refuse_captured(ordinal);
    check(cudaEventRecord(event, stream), "cudaEventRecord");
    if (captured(stream)) refuse_captured(ordinal);  // it joined one just now
  } catch (...) {
    give_event(ordinal, event);
    throw;
  }
  poller_.add(ordinal, stream, event, std::move(fn),
              [this](int o, cudaEvent_t e) { give_event(o, e); });
}

void StreamSignals::hold(int ordinal, cudaStream_t stream, const std::shared_ptr<Gate>& gate) {
  const DriverApi& api = driver_api();
  if (!api.complete) fail(ErrorCode::kCuda, "this CUDA driver has no stream waits on memory");
  use_device(ordinal);
  uint32_t* word = take_word();
  *static_cast<volatile uint32_t*>(word) = 0;
  try {
    std::shared_lock lock(captures_);
    if (captured(stream)) refuse_captured(ordinal);
    // The codes of the driver API are those of the runtime.
    check(static_cast<cudaError_t>(api.stream_wait_value(
              stream, reinterpret_cast<CUdeviceptr>(word), 1, CU_STREAM_WAIT_VALUE_GEQ)),
          "cuStreamWaitValue32");
  } catch (...) {
    give_word(word);
    throw;
  }
  gate->then([word] { __atomic_store_n(word, 1u, __ATOMIC_RELEASE); });
  notify(ordinal, stream, [this, word] { give_word(word); });  // the stream has passed it
}

}  // namespace fabric::cuda
