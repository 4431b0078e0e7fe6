// Device: one rank of the fabric. Its streams, made on first use, and its pool of events.
#include "fabric/device.h"

#include "fabric/allocator.h"
#include "fabric/error.h"
#include "fabric/event_log.h"

namespace fabric {

Device::Device(Driver& driver, int ordinal, int virtual_index, int virtual_count, uint16_t index)
    : driver_(driver),
      ordinal_(ordinal),
      virtual_index_(virtual_index),
      index_(index),
      name_(std::string(driver.name()) + ":" + std::to_string(ordinal)),
      properties_(driver.properties(ordinal)) {
  if (virtual_index_ >= 0) {
    name_ += '/';
    name_ += std::to_string(virtual_index_);
    if (virtual_count > 1) properties_.total_bytes /= static_cast<uint64_t>(virtual_count);
  }
  streams_.resize(own_.size());  // ids of the own four; a slot is filled on first use
  allocator_ = std::make_unique<Allocator>(*this);
}

Device::~Device() {
  for (auto& stream : streams_) {
    if (stream != nullptr) driver_.synchronize_stream(stream->handle(), 10'000);
  }
  allocator_.reset();
  for (auto& events : free_events_) {
    for (EventHandle event : events) driver_.destroy_event(event);
  }
}

Stream& Device::stream(StreamPurpose purpose) {
  const auto slot = static_cast<size_t>(purpose);
  if (slot >= own_.size()) {
    fail(ErrorCode::kUsage, "%s: user streams come from create_stream()", name_.c_str());
  }
  if (Stream* stream = own_[slot].load(std::memory_order_acquire)) return *stream;
  std::lock_guard lock(mutex_);
  if (streams_[slot] == nullptr) {
    // Collectives and copies go ahead of the bulk of the compute work.
    const int priority = purpose == StreamPurpose::kCompute ? 0 : -1;
    streams_[slot] = std::make_unique<Stream>(this, purpose, static_cast<uint16_t>(slot), priority);
    own_[slot].store(streams_[slot].get(), std::memory_order_release);
  }
  return *streams_[slot];
}

Stream& Device::create_stream(int priority) {
  std::lock_guard lock(mutex_);
  return add_stream(StreamPurpose::kUser, priority);
}

Stream& Device::add_stream(StreamPurpose purpose, int priority) {
  if (streams_.size() >= 0xffff) {
    fail(ErrorCode::kUsage, "%s: too many streams (they live as long as the device)",
         name_.c_str());
  }
  const auto id = static_cast<uint16_t>(streams_.size());
  streams_.push_back(std::make_unique<Stream>(this, purpose, id, priority));
  return *streams_.back();
}

Stream& Device::comm(int channel) { return channel_stream(channel, StreamPurpose::kComm); }
Stream& Device::push(int channel) { return channel_stream(channel, StreamPurpose::kCopyOut); }

Stream& Device::channel_stream(int channel, StreamPurpose purpose) {
  if (channel == 0) return stream(purpose);
  auto& place = channels_[purpose == StreamPurpose::kComm ? 0 : 1][static_cast<size_t>(channel)];
  if (Stream* stream = place.load(std::memory_order_acquire)) return *stream;
  std::lock_guard lock(mutex_);
  if (place.load(std::memory_order_relaxed) == nullptr) {
    place.store(&add_stream(purpose, -1), std::memory_order_release);
  }
  return *place.load(std::memory_order_relaxed);
}

Stream* Device::find_push(int channel) {
  return channel == 0 ? own_[static_cast<size_t>(StreamPurpose::kCopyOut)].load()
                      : channels_[1][static_cast<size_t>(channel)].load();
}

std::vector<Stream*> Device::comms() {
  std::vector<Stream*> all{&comm()};
  for (auto& each : channels_[0]) {
    if (Stream* stream = each.load(std::memory_order_acquire)) all.push_back(stream);
  }
  return all;
}

int Device::take_channel() {
  size_t best = 0;
  {
    std::lock_guard lock(mutex_);
    for (size_t c = 1; c < groups_.size(); ++c) {
      const bool allowed = !capturing() || channels_[0][c].load() != nullptr;
      if (allowed && groups_[c] < groups_[best]) best = c;
    }
    ++groups_[best];
  }
  const int channel = static_cast<int>(best);
  try {
    comm(channel);
  } catch (...) {
    give_channel(channel);
    throw;
  }
  return channel;
}

void Device::give_channel(int channel) {
  std::lock_guard lock(mutex_);
  --groups_[static_cast<size_t>(channel)];
}

Stream* Device::find_stream(uint16_t id) {
  if (id < own_.size()) return &stream(static_cast<StreamPurpose>(id));
  std::lock_guard lock(mutex_);
  return id < streams_.size() ? streams_[id].get() : nullptr;
}

std::vector<Stream*> Device::streams() {
  std::lock_guard lock(mutex_);
  std::vector<Stream*> result;
  for (const auto& stream : streams_) {
    if (stream != nullptr) result.push_back(stream.get());
  }
  return result;
}

void Device::synchronize(int64_t timeout_ms) {
  const uint64_t begin = event_log::now_ns();
  for (Stream* stream : streams()) {
    const auto spent = static_cast<int64_t>((event_log::now_ns() - begin) / 1'000'000);
    stream->synchronize(timeout_ms > spent ? timeout_ms - spent : 0);
  }
}

EventHandle Device::take_event(bool timing) {
  {
    std::lock_guard lock(mutex_);
    auto& events = free_events_[timing ? 1 : 0];
    if (!events.empty()) {
      EventHandle event = events.back();
      events.pop_back();
      return event;
    }
  }
  return driver_.create_event(ordinal_, timing);
}

void Device::give_event(EventHandle event, bool timing) {
  std::lock_guard lock(mutex_);
  free_events_[timing ? 1 : 0].push_back(event);
}

}  // namespace fabric
