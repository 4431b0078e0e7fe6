// The process-wide table of groups by id, shared by the bindings of collectives and of the reducer.
#pragma once

#include <cstdint>
#include <memory>

#include "fabric/group.h"

namespace weft::binding {

/// Throws UsageError when there is no such group.
std::shared_ptr<fabric::Group> find_group(uint32_t id);

}  // namespace weft::binding
