// See completion_poller.h.
#include "cuda/completion_poller.h"

#include <algorithm>
#include <chrono>

#include "cuda/cuda_status.h"
#include "fabric/fabric.h"

namespace fabric::cuda {
namespace {

constexpr auto kSpin = std::chrono::microseconds(200);
constexpr auto kNap = std::chrono::microseconds(20);
constexpr int kMostFailures = 1000;  // some 20 ms of naps

}  // namespace

void CompletionPoller::add(int ordinal, cudaStream_t stream, cudaEvent_t event,
                           std::function<void()> fn,
                           std::function<void(int, cudaEvent_t)> give_back) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!started_) {
    std::thread([this] { loop(); }).detach();  // the driver is never destroyed
    started_ = true;
  }
  incoming_.push_back({ordinal, stream, event, std::move(fn), std::move(give_back), 0});
  wake_.notify_one();
}

void CompletionPoller::loop() {
  std::deque<Item> pending;
  std::vector<cudaStream_t> waiting;  // streams with an earlier event that has not passed
  auto idle_since = std::chrono::steady_clock::now();
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      // Nothing queued, nothing to wait out: only the life of the process bounds this.
      if (pending.empty()) wake_.wait(lock, [&] { return !incoming_.empty(); });
      while (!incoming_.empty()) {
        pending.push_back(std::move(incoming_.front()));
        incoming_.pop_front();
        idle_since = std::chrono::steady_clock::now();
      }
    }
    bool passed_any = false;
    waiting.clear();
    for (size_t i = 0; i < pending.size();) {
      if (std::find(waiting.begin(), waiting.end(), pending[i].stream) != waiting.end()) {
        ++i;
        continue;
      }
      cudaError_t status = cudaEventQuery(pending[i].event);
      if (status == cudaErrorNotReady) {
        cudaGetLastError();
        waiting.push_back(pending[i].stream);
        ++i;
        continue;
      }
      if (status == cudaErrorCudartUnloading) return;  // the process is ending; nobody waits
      if (status != cudaSuccess && !sticky(status) && ++pending[i].failures < kMostFailures) {
        cudaGetLastError();  // of this question only, as far as can be told: ask again
        waiting.push_back(pending[i].stream);
        ++i;
        continue;
      }
      if (status != cudaSuccess) poison(status_text("waiting for the GPU", status));
      Item item = std::move(pending[i]);
      pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(i));
      item.give_back(item.ordinal, item.event);
      item.fn();
      passed_any = true;
    }
    auto now = std::chrono::steady_clock::now();
    if (passed_any) idle_since = now;
    if (!pending.empty() && now - idle_since > kSpin) std::this_thread::sleep_for(kNap);
  }
}

}  // namespace fabric::cuda
