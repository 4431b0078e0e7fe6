// See fabric/capture_state.h.
#include "fabric/capture_state.h"

#include <chrono>
#include <condition_variable>

#include "fabric/allocator.h"

namespace fabric {
namespace {

struct Ends {
  std::mutex mutex;
  std::condition_variable more;  // signalled by release()
  std::atomic<uint64_t> count{0};
};

Ends& ends() {
  static auto* instance = new Ends;  // threads may outlive static objects
  return *instance;
}

}  // namespace

CaptureState::CaptureState() = default;
CaptureState::~CaptureState() = default;

bool CaptureState::begun_here() const {
  return id() != 0 && thread_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

bool CaptureState::claim(uint64_t id) {
  uint64_t nobody = 0;
  if (!id_.compare_exchange_strong(nobody, id, std::memory_order_seq_cst)) return false;
  begun_.fetch_add(1, std::memory_order_seq_cst);
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  return true;
}

void CaptureState::release() {
  {
    std::lock_guard lock(mutex_);
    id_.store(0, std::memory_order_seq_cst);
  }
  {
    std::lock_guard lock(ends().mutex);
    ends().count.fetch_add(1, std::memory_order_seq_cst);
  }
  ends().more.notify_all();
}

bool CaptureState::keep(const StagingBuffer& buffer, Stream& stream) {
  std::lock_guard lock(mutex_);
  if (id() == 0) return false;
  kept_.emplace_back(buffer, &stream);
  return true;
}

CaptureState::Kept CaptureState::take_kept() {
  std::lock_guard lock(mutex_);
  return std::exchange(kept_, {});
}

void CaptureState::keep(std::shared_ptr<CapturedNeed> need) {
  std::lock_guard lock(mutex_);
  needs_.push_back(std::move(need));
}

std::vector<std::shared_ptr<CapturedNeed>> CaptureState::take_needs() {
  std::lock_guard lock(mutex_);
  return std::exchange(needs_, {});
}

uint64_t captures_ended() { return ends().count.load(std::memory_order_seq_cst); }

bool wait_capture_end(uint64_t seen, int64_t timeout_ms) {
  std::unique_lock lock(ends().mutex);
  return ends().more.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                              [&] { return ends().count.load() > seen; });
}

}  // namespace fabric
