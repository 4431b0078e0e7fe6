// The kernel tables of the drivers in this build, and what their kernels compute alike on the host.
#include "dispatch/kernels.h"

#include <cmath>

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

AdamWRates adamw_rates(const AdamWArgs& args) {
  const double t = static_cast<double>(args.step);
  return {.shrink = 1 - args.lr * args.weight_decay,
          .step_size = args.lr / (1 - std::pow(args.beta1, t)),
          .unbias = 1 / std::sqrt(1 - std::pow(args.beta2, t))};
}

}  // namespace weft
