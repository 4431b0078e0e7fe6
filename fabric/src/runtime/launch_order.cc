// See runtime/launch_order.h.
#include "runtime/launch_order.h"

namespace fabric {

std::mutex& launch_order() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

}  // namespace fabric
