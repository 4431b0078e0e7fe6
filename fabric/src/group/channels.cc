// See group/channels.h.
#include "group/channels.h"

namespace fabric {

TakenChannels::TakenChannels(const std::vector<Device*>& devices) : devices_(devices) {
  numbers_.reserve(devices_.size());
  try {
    for (Device* device : devices_) numbers_.push_back(device->take_channel());
  } catch (...) {
    give();
    throw;
  }
}

TakenChannels::~TakenChannels() { give(); }

void TakenChannels::give() noexcept {
  for (size_t r = 0; r < numbers_.size(); ++r) devices_[r]->give_channel(numbers_[r]);
}

}  // namespace fabric
