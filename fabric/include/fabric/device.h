// Devices and their streams: one Device is one rank of the fabric. Owns the streams, the allocator
// and the properties; knows its driver. Devices live as long as the process.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/capture_state.h"
#include "fabric/driver.h"

namespace fabric {

class Allocator;
class Device;

/// One ordered queue of a device. Borrowed everywhere; owned by its Device.
class Stream {
 public:
  Stream(Device* device, StreamPurpose purpose, uint16_t id, int priority);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return *device_; }
  StreamPurpose purpose() const { return purpose_; }
  uint16_t id() const { return id_; }  ///< 0..3 the device's own four, 4.. made later
  StreamHandle handle() const { return handle_; }

  /// Waits until everything enqueued so far is done. Blocks the caller, at most `timeout_ms`;
  /// throws UsageError naming device and stream when the limit passes.
  void synchronize(int64_t timeout_ms = 60'000);
  bool idle() const;
  /// Does what is enqueued here now become part of a graph, rather than run?
  bool capturing() const;

 private:
  Device* device_;
  StreamPurpose purpose_;
  uint16_t id_;
  StreamHandle handle_;
};

/// A point in a stream's work, from the device's event pool. Move-only.
/// Order: what was enqueued on `stream` before record(stream) is visible to work enqueued on
/// another stream after wait(other), also across devices. Neither call blocks the host.
class Event {
 public:
  Event() = default;
  explicit Event(Device& device, bool timing = false);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;

  explicit operator bool() const { return handle_ != nullptr; }
  Device* device() const { return device_; }
  EventHandle handle() const { return handle_; }
  void record(Stream& stream);
  /// As record(), for work in the background that no capture may swallow. False: a capture over
  /// the stream's device goes on or has just begun, and the event must be dropped unasked.
  bool record_eager(Stream& stream);
  /// `stream` waits; no effect when never recorded. Throws UsageError when one of the two is
  /// captured and the other is not part of that capture.
  void wait(Stream& stream) const;
  bool query() const;                          ///< throws UsageError when a capture recorded it
  bool synchronize(int64_t timeout_ms) const;  ///< blocks the caller; false when the limit passed

 private:
  void refuse_captured(const char* what) const;

  Device* device_ = nullptr;
  EventHandle handle_ = nullptr;
  bool timing_ = false;
  uint64_t capture_ = 0;   // that recorded it, 0 when none did
  bool recorded_ = false;  // handles are pooled: an earlier owner's record must not hold wait()
};

class Device {
 public:
  Device(Driver& driver, int ordinal, int virtual_index, int virtual_count, uint16_t index);
  ~Device();

  const std::string& name() const { return name_; }  ///< "host:0", "cuda:1", "cuda:0/2"
  uint16_t index() const { return index_; }          ///< position in the fabric's table
  Driver& driver() const { return driver_; }
  DriverKind kind() const { return driver_.kind(); }
  int ordinal() const { return ordinal_; }
  int virtual_index() const { return virtual_index_; }  ///< -1 when the device is not split
  const DeviceProperties& properties() const { return properties_; }
  Allocator& allocator() const { return *allocator_; }

  Stream& stream(StreamPurpose purpose);  ///< one of the device's own four
  Stream& compute() { return stream(StreamPurpose::kCompute); }
  Stream& comm() { return stream(StreamPurpose::kComm); }

  // Channels: what groups communicate on. Each has a comm stream, on which calls begin, sum and end,
  // and a push stream, for copies beside the sums. Channel 0 is the device's own comm and copy-out
  // stream. Four: a mesh of three axes and the whole; more groups share.
  static constexpr int kChannels = 4;
  Stream& comm(int channel);
  Stream& push(int channel);
  Stream* find_push(int channel);  ///< nullptr when nobody has used it
  std::vector<Stream*> comms();    ///< of all channels, those that exist so far
  /// The channel with the fewest groups. One that a group takes during a capture exists already, since
  /// the capture has given pools to those alone.
  int take_channel();
  void give_channel(int channel);

  Stream& create_stream(int priority = 0);        ///< a user stream; lives as long as the device
  Stream* find_stream(uint16_t id);               ///< nullptr when there is none
  std::vector<Stream*> streams();                 ///< those that exist so far
  void synchronize(int64_t timeout_ms = 60'000);  ///< all streams; blocks the caller

  /// A capture over this device is going on.
  bool capturing() const { return captures_.id() != 0; }
  CaptureState& captures() { return captures_; }
  const CaptureState& captures() const { return captures_; }

  // Event pool; used by Event.
  EventHandle take_event(bool timing);
  void give_event(EventHandle event, bool timing);

 private:
  Driver& driver_;
  int ordinal_;
  int virtual_index_;
  uint16_t index_;
  std::string name_;
  DeviceProperties properties_;
  std::unique_ptr<Allocator> allocator_;
  CaptureState captures_;
  std::mutex mutex_;  // guards streams_ growth, groups_ and the event pools
  Stream& add_stream(StreamPurpose purpose, int priority);  // under mutex_
  Stream& channel_stream(int channel, StreamPurpose purpose);

  std::array<std::atomic<Stream*>, 4> own_{};
  std::array<std::array<std::atomic<Stream*>, kChannels>, 2> channels_{};  // comm, push; 0 unused
  std::array<int, kChannels> groups_{};                                    // by channel
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<EventHandle> free_events_[2];
};

/// `later` waits for everything enqueued on `earlier` so far. No-op when they are the same stream.
void order_after(Stream& later, Stream& earlier);

/// How often this process waited on the host for a stream or an event.
uint64_t host_waits();
/// Counts one; called by Stream and Event before they wait.
void count_host_wait();

}  // namespace fabric
