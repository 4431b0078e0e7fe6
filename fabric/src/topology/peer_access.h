// Peer access between two devices: enabled on first use, logged once, asked again each time since it
// can be lost. Groups enable all their pairs, copy lanes ask before they choose their way.
#pragma once

#include "fabric/fabric.h"

namespace fabric {

/// True when `a` may read and write `b`'s memory; enables the pair on first use.
bool reaches(Device& a, Device& b);

}  // namespace fabric
