// A driver of any kind that does nothing, for tests of what must be refused before a driver is
// asked for work.
#pragma once

#include <functional>
#include <memory>

#include "fabric/driver.h"

namespace fabric::test {

class FakeDriver final : public Driver {
 public:
  explicit FakeDriver(DriverKind kind) : kind_(kind) {}
  DriverKind kind() const override { return kind_; }
  const char* name() const override { return kind_ == DriverKind::kHost ? "host" : "cuda"; }
  int device_count() const override { return 0; }
  DeviceProperties properties(int) const override { return {}; }
  void* alloc(int, size_t) override { return nullptr; }
  void free(int, void*, size_t) override {}
  void* alloc_staging(size_t) override { return nullptr; }
  void free_staging(void*, size_t) override {}
  StreamHandle create_stream(int, StreamPurpose, int) override { return nullptr; }
  void destroy_stream(StreamHandle) override {}
  bool query_stream(StreamHandle) override { return true; }
  bool synchronize_stream(StreamHandle, int64_t) override { return true; }
  EventHandle create_event(int, bool) override { return nullptr; }
  void destroy_event(EventHandle) override {}
  void record(EventHandle, StreamHandle) override {}
  void wait(StreamHandle, EventHandle) override {}
  bool query_event(EventHandle) override { return true; }
  bool synchronize_event(EventHandle, int64_t) override { return true; }
  double elapsed_ms(EventHandle, EventHandle) override { return 0; }
  void copy(void*, int, const void*, int, size_t, StreamHandle) override {}
  void copy_by_kernel(void*, int, const void*, int, size_t, StreamHandle) override {}
  void fill(void*, int, int, size_t, StreamHandle) override {}
  void combine(void*, const void*, const void*, size_t, DType, ReduceOp, double, int,
               StreamHandle) override {}
  void notify(StreamHandle, std::function<void()>) override {}
  void hold(StreamHandle, std::shared_ptr<fabric::Gate>) override {}
  bool can_access_peer(int, int) override { return true; }
  void enable_peer(int, int) override {}
  double measured_gbps(int, int) override { return 0; }
  void begin_capture(StreamHandle) override {}
  bool is_capturing(StreamHandle) override { return false; }
  GraphHandle end_capture(StreamHandle) override { return nullptr; }
  void abandon_capture(StreamHandle) noexcept override {}
  void launch_graph(GraphHandle, StreamHandle) override {}
  void destroy_graph(GraphHandle) override {}

 private:
  DriverKind kind_;
};

}  // namespace fabric::test
