// Whether the fabric was shut down; fabric::shutdown() is in fabric/fabric.h.
#pragma once

namespace fabric {

bool shut_down();

}  // namespace fabric
