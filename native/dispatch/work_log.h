// Events of kind operator: everything that native code enqueues on a stream is followed by one, so
// that in mode timing the device times of a stream's events bound what each name took. Called by
// dispatch, the backward engine, the reducer and captured steps, right after the work was enqueued.
#pragma once

#include "core/tensor.h"
#include "dispatch/op_table.h"
#include "fabric/event_log.h"

namespace weft {

/// What an event names besides an operator.
enum class Work : uint32_t {
#define WEFT_WORK(enumerator, name) enumerator,
#include "dispatch/work_kinds.def"
#undef WEFT_WORK
};

namespace work_log {

inline bool on() { return fabric::event_log::g_mode.load(std::memory_order_relaxed) != 0; }

/// Do records carry what the work moves and computes? In mode timing, where time is not dear.
inline bool costs() {
  return fabric::event_log::g_mode.load(std::memory_order_relaxed) ==
         static_cast<int>(fabric::LogMode::kTiming);
}

/// Logs work on `stream`; `bytes` of its results, `cost` as packed_cost() has it. Off: one branch.
inline void log(Work work, Op op, const Stream& stream, uint64_t bytes, uint64_t cost = 0) {
  fabric::event_log::log(fabric::EventKind::kOperator, stream.device().index(), stream.id(),
                         fabric::kNoDevice, bytes, static_cast<uint64_t>(op),
                         static_cast<uint32_t>(work) << 16 | static_cast<uint32_t>(op), cost);
}

/// Logs work on the current stream of `result`'s device.
inline void log(Work work, Op op, const Tensor& result) {
  if (on()) [[unlikely]] {
    log(work, op, current_stream(result.device()),
        static_cast<uint64_t>(result.numel()) * dtype_bytes(result.dtype()));
  }
}

/// Logs the operator call, by its results or, where it has none, by what it was given.
void log_call(const OpCall& call);

}  // namespace work_log
}  // namespace weft
