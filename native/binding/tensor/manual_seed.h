// The seed that manualSeed() set for all devices, kept for those opened later. random.cc owns it;
// fabric.cc asks when it opens a device.
#pragma once

#include "core/tensor.h"

namespace weft::binding {

/// Gives a device that was just opened the process's manual seed, if there is one.
void seed_opened_device(const Device& device);

}  // namespace weft::binding
