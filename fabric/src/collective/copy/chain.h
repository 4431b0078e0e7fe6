// Broadcast and reduce of `copy-ring`; collective/copy/ring.cc calls them for two ranks or more, count >
// 0.
#pragma once

#include <span>

#include "fabric/group.h"

namespace fabric {

void chain_broadcast(std::span<CollectiveArgs> args, std::span<Device* const> devices);
void chain_reduce(std::span<CollectiveArgs> args, std::span<Device* const> devices);

}  // namespace fabric
