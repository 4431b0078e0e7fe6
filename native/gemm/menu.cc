// The process's menu and the small conversions of menu.h. native/cuda/register.cc fills it once,
// before the first operator runs.
#include "gemm/menu.h"

#include <algorithm>
#include <utility>

namespace weft {
namespace {

std::vector<const GemmRow*>& registered() {
  static auto* rows = new std::vector<const GemmRow*>;
  return *rows;
}

}  // namespace

GemmGpu gemm_gpu(const fabric::DeviceProperties& properties) {
  return {properties.model, properties.multiprocessors, properties.capability_major};
}

GemmKey gemm_key(const GemmKind& kind, const GemmSizes& s) {
  const uint32_t packed = static_cast<uint32_t>(kind.dtype) |
                          static_cast<uint32_t>(kind.layout) << 8 |
                          static_cast<uint32_t>(kind.epilogue) << 16;
  return {s.m, s.n, s.k, s.batch, packed};
}

GemmMenu gemm_menu() { return registered(); }

void register_gemm_menu(std::vector<const GemmRow*> rows) { registered() = std::move(rows); }

const GemmRow* find_gemm_row(GemmMenu menu, std::string_view name) {
  const auto found =
      std::find_if(menu.begin(), menu.end(), [&](const GemmRow* row) { return name == row->name; });
  return found == menu.end() ? nullptr : *found;
}

}  // namespace weft
