// The switch of precision.h.
#include "core/precision.h"

#include <atomic>

namespace weft {
namespace {

std::atomic<bool> g_tf32_allowed{true};

}  // namespace

void set_tf32_allowed(bool allowed) { g_tf32_allowed.store(allowed, std::memory_order_relaxed); }
bool tf32_allowed() { return g_tf32_allowed.load(std::memory_order_relaxed); }

}  // namespace weft
