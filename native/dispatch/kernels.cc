// The kernel tables of the drivers in this build.
#include "dispatch/kernels.h"

namespace weft {
namespace {

const KernelTable* g_tables[2] = {};

}  // namespace

void register_kernels(fabric::DriverKind kind, const KernelTable& table) {
  g_tables[static_cast<int>(kind)] = new KernelTable(table);  // lives as long as the process
}

const KernelTable& kernels(const Device& device) {
  const KernelTable* table = g_tables[static_cast<int>(device.kind())];
  if (!table) [[unlikely]] {
    fail(ErrorCode::kDevice, "this build has no kernels for %s", device.name().c_str());
  }
  return *table;
}

}  // namespace weft
