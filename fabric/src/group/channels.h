// The channels of a group's devices (Device::take_channel), from its creation until it is disposed of.
// Its calls may go on then: whoever takes a channel next comes behind them on its streams.
#pragma once

#include <vector>

#include "fabric/device.h"

namespace fabric {

class TakenChannels {
 public:
  TakenChannels() = default;
  explicit TakenChannels(const std::vector<Device*>& devices);
  ~TakenChannels();
  TakenChannels(const TakenChannels&) = delete;
  TakenChannels& operator=(const TakenChannels&) = delete;

  const std::vector<int>& numbers() const { return numbers_; }

 private:
  void give() noexcept;

  std::vector<Device*> devices_;
  std::vector<int> numbers_;
};

}  // namespace fabric
