// See live_words.h.
#include "graph/live_words.h"

#include <array>
#include <atomic>
#include <bit>

#include "dispatch/work_log.h"
#include "random/generator.h"

namespace weft {
namespace {

constexpr size_t kDevices = 256;

std::atomic<LiveWords*>& active(const Device& device) {
  static auto* table = new std::array<std::atomic<LiveWords*>, kDevices>();
  return (*table)[device.index() % kDevices];
}

}  // namespace

LiveWords* live_words(const Stream& stream) {
  LiveWords* words = active(stream.device()).load(std::memory_order_acquire);
  return words != nullptr && stream.capturing() ? words : nullptr;
}

LiveWords::LiveWords(Device& device)
    : device_(device),
      block_(device.allocator().allocate(kStoreWords * sizeof(uint64_t), device.compute())) {}

LiveWords::~LiveWords() {
  stop();
  device_.allocator().free(block_);
}

void LiveWords::start() {
  begin_captured_draws(device_, words());
  active(device_).store(this, std::memory_order_release);
  started_ = true;
}

void LiveWords::stop() {
  if (!started_) return;
  started_ = false;
  active(device_).store(nullptr, std::memory_order_release);
  counters_ = end_captured_draws(device_);
}

const double* LiveWords::add(bool adamw, const AdamWArgs& args, int count) {
  if (used_ + count > kStoreWords) {
    fail(ErrorCode::kUsage,
         "a captured step holds at most %d words of learning rates: use fewer parameter groups",
         kStoreWords - 2);
  }
  calls_.push_back({adamw, args, used_});
  used_ += count;
  return reinterpret_cast<const double*>(words() + calls_.back().word);
}

const double* LiveWords::add_adamw(const AdamWArgs& args) {
  return add(true, args, args.skip != nullptr ? 2 : 3);
}

const double* LiveWords::add_sgd(const SgdArgs& args) {
  if (args.momentum != 0 && args.first_step) {
    fail(ErrorCode::kUsage,
         "sgd: the first step with momentum differs from all later ones; take it before the "
         "capture");
  }
  return add(false, {}, 1);
}

void LiveWords::write(std::span<const double> rates, Stream& stream) {
  if (rates.size() != 2 * calls_.size()) {
    fail(ErrorCode::kUsage, "%s: the captured step has %zu optimizer calls, %zu rates were given",
         device_.name().c_str(), calls_.size(), rates.size() / 2);
  }
  const GeneratorState random = take_counters(device_, counters_);
  std::array<uint64_t, kStoreWords> values{random.seed, random.offset};
  for (size_t i = 0; i < calls_.size(); ++i) {
    Call& call = calls_[i];
    const auto at = static_cast<size_t>(call.word);
    if (!call.adamw) {
      values[at] = std::bit_cast<uint64_t>(rates[2 * i]);
      continue;
    }
    call.args.lr = rates[2 * i];
    call.args.step = static_cast<int64_t>(rates[2 * i + 1]);
    if (call.args.skip != nullptr) {
      values[at] = std::bit_cast<uint64_t>(call.args.lr);
      values[at + 1] = std::bit_cast<uint64_t>(static_cast<double>(call.args.step));
      continue;
    }
    const AdamWRates r = adamw_rates(call.args);
    values[at] = std::bit_cast<uint64_t>(r.shrink);
    values[at + 1] = std::bit_cast<uint64_t>(r.step_size);
    values[at + 2] = std::bit_cast<uint64_t>(r.unbias);
  }
  kernels(device_).store(words(), values.data(), used_, stream);
  work_log::log(Work::kGraphWords, Op::kCount, stream,
                static_cast<uint64_t>(used_) * sizeof(uint64_t));
}

}  // namespace weft
