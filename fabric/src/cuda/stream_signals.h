// What passes between a stream and the host without either blocking: notify() calls a function when
// the stream has come to a point, hold() makes the stream wait for a gate. Two parts of Driver;
// CudaDriver forwards to them.
//
// Design. notify() records a pooled event and gives it to the poller. hold() lets the stream wait
// for a word in pinned memory (cuStreamWaitValue32) that the gate's opening sets to 1; the word is
// used again once the stream has passed it, which a notify() behind it tells.
//  - Captures: an event that a capture swallowed can never be asked, and the question would break
//    the capture. So captures begin and end under CaptureGate's exclusive side and notify() looks,
//    records and looks again under its shared side: a stream that is not captured afterwards was
//    not captured at the record either, since within one capture a stream only ever joins.
//  - Who locks: pools_ has a mutex of its own, held for a push or a pop, never over a CUDA call.
//  - What breaks it: nobody opens the gate; whoever made it bounds that (runtime/gate_watch.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "cuda/completion_poller.h"
#include "fabric/gate.h"

namespace fabric::cuda {

/// Exclusive while a capture begins or ends.
using CaptureGate = std::shared_mutex;

class StreamSignals {
 public:
  StreamSignals(int devices, CaptureGate& captures)
      : captures_(captures), events_(static_cast<size_t>(devices)) {}

  void notify(int ordinal, cudaStream_t stream, std::function<void()> fn);
  void hold(int ordinal, cudaStream_t stream, const std::shared_ptr<Gate>& gate);

 private:
  cudaEvent_t take_event(int ordinal);
  void give_event(int ordinal, cudaEvent_t event);
  uint32_t* take_word();
  void give_word(uint32_t* word);

  CaptureGate& captures_;
  CompletionPoller poller_;
  std::mutex pools_;  // guards what follows
  std::vector<std::vector<cudaEvent_t>> events_;
  std::vector<uint32_t*> words_;
};

}  // namespace fabric::cuda
