// A driver that does its work at once, in the order in which it is enqueued, and writes down every
// operation: what it reads and writes, on which stream, and each record of an event and wait for it.
// schedule_check.h reads what it wrote; the schedule tests run collectives and transfers on it.
//
// The order of enqueuing is one that the streams allow, so results are those of a real run. Its
// devices live to the end of the process, as the fabric's own do. While tracing no event says that it
// has passed: the host orders nothing then, only streams and events do. Memory from alloc() is
// scratch of communication streams here, so each stands for an earlier and a later user of it.
#pragma once

#include <execinfo.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/fabric.h"
#include "test_device.h"

namespace fabric::test {

struct Access {
  const char* begin = nullptr;
  size_t bytes = 0;
  bool writes = false;
};

/// Where in the code an event is recorded or waited for: return addresses of Event::record() or
/// Event::wait() and of its callers.
using Place = std::array<void*, 3>;

struct Operation {
  enum class Kind : uint8_t { kWork, kRecord, kWait } kind = Kind::kWork;
  const void* stream = nullptr;
  const void* event = nullptr;  // of kRecord and kWait
  std::vector<Access> accesses{};
  std::string text{};
  Place place{};  // of kRecord and kWait
};

class TracingDriver final : public Driver {
 public:
  static constexpr int kDevices = 8;

  static TracingDriver& instance() {
    static auto* driver = new TracingDriver;
    return *driver;
  }
  std::vector<Device*> devices(int n) const { return {devices_.begin(), devices_.begin() + n}; }

  void set_peers(bool allowed) { peers_ = allowed; }
  void start() {
    std::lock_guard lock(mutex_);
    trace_.clear();
    tracing_ = true;
    for (const Segment& each : segments_) use_scratch(each, "an earlier user of scratch");
  }
  std::vector<Operation> stop() {
    std::lock_guard lock(mutex_);
    for (const Segment& each : segments_) use_scratch(each, "a later user of scratch");
    tracing_ = false;
    return std::move(trace_);
  }
  /// An access of the test's own.
  void touch(const Stream& stream, const void* at, size_t bytes, bool writes, std::string text) {
    add({Operation::Kind::kWork,
         stream.handle(),
         nullptr,
         {{static_cast<const char*>(at), bytes, writes}},
         std::move(text)});
  }

  DriverKind kind() const override { return DriverKind::kHost; }
  const char* name() const override { return "traced"; }
  int device_count() const override { return kDevices; }
  DeviceProperties properties(int ordinal) const override { return real().properties(ordinal); }
  void* alloc(int ordinal, size_t bytes) override {
    const Segment made{ordinal, static_cast<char*>(real().alloc(ordinal, bytes)), bytes};
    std::lock_guard lock(mutex_);
    segments_.push_back(made);
    if (tracing_) use_scratch(made, "an earlier user of scratch");
    return made.at;
  }
  void free(int ordinal, void* ptr, size_t bytes) override {
    {
      std::lock_guard lock(mutex_);
      std::erase_if(segments_, [&](const Segment& each) { return each.at == ptr; });
    }
    real().free(ordinal, ptr, bytes);
  }
  void* alloc_staging(size_t bytes) override { return real().alloc_staging(bytes); }
  void free_staging(void* ptr, size_t bytes) override { real().free_staging(ptr, bytes); }

  StreamHandle create_stream(int, StreamPurpose, int) override { return new char; }
  void destroy_stream(StreamHandle) override {}
  bool query_stream(StreamHandle) override { return !tracing_; }
  bool synchronize_stream(StreamHandle, int64_t) override { return true; }
  EventHandle create_event(int, bool) override { return new char; }
  void destroy_event(EventHandle) override {}  // handles stay distinct
  void record(EventHandle event, StreamHandle stream) override {
    add({Operation::Kind::kRecord, stream, event, {}, "record", place()});
  }
  void wait(StreamHandle stream, EventHandle event) override {
    add({Operation::Kind::kWait, stream, event, {}, "wait", place()});
  }
  bool query_event(EventHandle) override { return !tracing_; }
  bool synchronize_event(EventHandle, int64_t) override { return true; }
  double elapsed_ms(EventHandle, EventHandle) override { return 0; }

  void copy(void* dst, int, const void* src, int, size_t bytes, StreamHandle stream) override {
    if (bytes == 0 || dst == src) return;
    std::memmove(dst, src, bytes);
    add({Operation::Kind::kWork,
         stream,
         nullptr,
         {{static_cast<char*>(dst), bytes, true}, {static_cast<const char*>(src), bytes, false}},
         "copy"});
  }
  void copy_by_kernel(void* dst, int to, const void* src, int from, size_t bytes,
                      StreamHandle stream) override {
    copy(dst, to, src, from, bytes, stream);
  }
  void fill(void* dst, int, int byte, size_t bytes, StreamHandle stream) override {
    std::memset(dst, byte, bytes);
    add({Operation::Kind::kWork,
         stream,
         nullptr,
         {{static_cast<char*>(dst), bytes, true}},
         "fill"});
  }
  // Sums of i64 alone: the tests count contributions with them.
  void combine(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
               double, int, StreamHandle stream) override {
    if (dtype != DType::kI64 || op != ReduceOp::kSum) {
      fail(ErrorCode::kUsage, "the tracing driver adds i64 alone");
    }
    for (size_t i = 0; i < count; ++i) {
      static_cast<int64_t*>(dst)[i] =
          static_cast<const int64_t*>(a)[i] + static_cast<const int64_t*>(b)[i];
    }
    const size_t bytes = count * sizeof(int64_t);
    add({Operation::Kind::kWork,
         stream,
         nullptr,
         {{static_cast<char*>(dst), bytes, true},
          {static_cast<const char*>(a), bytes, false},
          {static_cast<const char*>(b), bytes, false}},
         "combine"});
  }
  void notify(StreamHandle, std::function<void()> fn) override { fn(); }
  void hold(StreamHandle, std::shared_ptr<fabric::Gate>) override {}
  bool can_access_peer(int from, int to) override { return from == to || peers_; }
  void enable_peer(int, int) override {}
  double measured_gbps(int, int) override { return 0; }
  void begin_capture(StreamHandle) override {}
  bool is_capturing(StreamHandle) override { return false; }
  GraphHandle end_capture(StreamHandle) override { return nullptr; }
  void abandon_capture(StreamHandle) noexcept override {}
  void launch_graph(GraphHandle, StreamHandle) override {}
  void destroy_graph(GraphHandle) override {}

 private:
  // Indices beyond those of opened devices: nothing about these is kept by index.
  TracingDriver() {
    for (int i = 0; i < kDevices; ++i) {
      devices_.push_back(new Device(*this, i, -1, 1, static_cast<uint16_t>(60'000 + i)));
      devices_.back()->comm();
    }
  }
  struct Segment {
    int ordinal;
    char* at;
    size_t bytes;
  };
  // Under mutex_.
  void use_scratch(const Segment& each, const char* text) {
    trace_.push_back({Operation::Kind::kWork,
                      devices_[static_cast<size_t>(each.ordinal)]->comm().handle(),
                      nullptr,
                      {{each.at, each.bytes, true}},
                      text});
  }
  [[gnu::noinline]] static Place place() {
    constexpr int kOwn = 3;  // this function, the driver's, the event's
    void* frames[kOwn + std::tuple_size_v<Place>] = {};
    backtrace(frames, std::size(frames));
    Place place;
    std::copy_n(frames + kOwn, place.size(), place.begin());
    return place;
  }
  static Driver& real() { return open_device("host:0").driver(); }

  void add(Operation operation) {
    std::lock_guard lock(mutex_);
    if (tracing_) trace_.push_back(std::move(operation));
  }

  std::vector<Device*> devices_;
  std::atomic<bool> peers_{true};
  std::atomic<bool> tracing_{false};
  std::mutex mutex_;  // guards what follows
  std::vector<Segment> segments_;
  std::vector<Operation> trace_;
};

}  // namespace fabric::test
