// What a captured step reads from device memory each time it runs, because it changes from run to
// run while the kernels' arguments cannot: random state, learning rates, step counts. One block a
// device and graph. Filled by write() before each run (graph/step_graph.h); operators that capture
// ask for their words here.
//
// Layout: word 0 seed, word 1 first random counter, then the words of each optimizer call in the
// order of the capture: 3 for AdamW (AdamWRates; {lr, step} where steps may be skipped), 1 for SGD.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"
#include "dispatch/kernels.h"

namespace weft {

class LiveWords {
 public:
  /// Allocates on the compute stream of `device`, outside any capture.
  explicit LiveWords(Device& device);
  ~LiveWords();
  LiveWords(const LiveWords&) = delete;
  LiveWords& operator=(const LiveWords&) = delete;

  /// Operators on captured streams of this device find these words from here to stop(), on every
  /// thread.
  void start();
  void stop();
  /// Words of the next optimizer call; throws UsageError when no more fit.
  const double* add_adamw(const AdamWArgs& args);
  const double* add_sgd(const SgdArgs& args);
  /// Optimizer calls of one run.
  size_t calls() const { return calls_.size(); }
  /// Enqueues what the next run reads: a fresh piece of the device's random sequence, and {lr,
  /// step} of each optimizer call from `rates`. Runs on `stream`, ordered before the run by it.
  void write(std::span<const double> rates, Stream& stream);

 private:
  struct Call {
    bool adamw;
    AdamWArgs args;  // betas and decay
    int word;
  };
  const double* add(bool adamw, const AdamWArgs& args, int words);
  uint64_t* words() const { return static_cast<uint64_t*>(block_->ptr); }

  Device& device_;
  fabric::Block* block_;
  bool started_ = false;
  uint64_t counters_ = 0;  // random counters of one run
  int used_ = 2;
  std::vector<Call> calls_;
};

/// The words of the capture that `stream` is part of, nullptr outside one.
LiveWords* live_words(const Stream& stream);

}  // namespace weft
