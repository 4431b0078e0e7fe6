// Broadcast and reduce of `copy-ring`; collective/copy/ring.cc asks for them for two ranks or more,
// count > 0.
#pragma once

#include <memory>

#include "fabric/algorithm.h"

namespace fabric {

std::unique_ptr<PreparedCall> prepare_chain(const CollectiveCall& call);

}  // namespace fabric
