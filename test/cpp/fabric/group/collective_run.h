// Runs one collective over host devices and compares every element with a plain reference. Shared
// by the group, collective and transfer tests. Values are small integers, so every order of summing
// is exact.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fabric/algorithm.h"
#include "fabric/faults.h"
#include "fabric/group.h"
#include "fabric/half.h"
#include "fabric/host_queue.h"
#include "test_device.h"

namespace fabric::test {

inline std::vector<Device*> host_devices(int n) {
  std::vector<Device*> devices;
  for (int i = 0; i < n; ++i) devices.push_back(&open_device("host:" + std::to_string(i)));
  return devices;
}

inline double load(DType type, const void* data, uint64_t i) {
  switch (type) {
    case DType::kF32:
      return static_cast<const float*>(data)[i];
    case DType::kF64:
      return static_cast<const double*>(data)[i];
    case DType::kF16:
      return static_cast<float>(static_cast<const F16*>(data)[i]);
    case DType::kBF16:
      return static_cast<float>(static_cast<const BF16*>(data)[i]);
    case DType::kI64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case DType::kI32:
      return static_cast<const int32_t*>(data)[i];
    default:
      return static_cast<const uint8_t*>(data)[i];
  }
}

inline void store(DType type, void* data, uint64_t i, double value) {
  switch (type) {
    case DType::kF32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      return;
    case DType::kF64:
      static_cast<double*>(data)[i] = value;
      return;
    case DType::kF16:
      static_cast<F16*>(data)[i] = F16(static_cast<float>(value));
      return;
    case DType::kBF16:
      static_cast<BF16*>(data)[i] = BF16(static_cast<float>(value));
      return;
    case DType::kI64:
      static_cast<int64_t*>(data)[i] = static_cast<int64_t>(value);
      return;
    case DType::kI32:
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value);
      return;
    default:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
  }
}

struct Call {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kF32;
  uint64_t count = 0;
  int root = 0;
  bool in_place = false;

  std::string text(int ranks) const {
    return std::string(collective_name(kind)) + " op " + std::to_string(static_cast<int>(op)) +
           " " + std::to_string(count) + " x " + dtype_name(dtype) + " root " +
           std::to_string(root) + (in_place ? " in place" : " out of place") + " over " +
           std::to_string(ranks);
  }
};

/// Element i of rank r's input.
inline double input_value(const Call& call, int r, uint64_t i) {
  const uint64_t mixed = static_cast<uint64_t>(r) * 7 + i * 3 + i / 11;
  if (call.dtype == DType::kBool) return static_cast<double>(mixed % 3 == 0);
  if (call.op == ReduceOp::kProd) return 1.0 + static_cast<double>(mixed % 2);
  const double value = static_cast<double>(mixed % 5);
  return call.dtype == DType::kU8 ? value : value - 2.0;
}

/// The reduction of element i over n ranks, rounded as the dtype rounds it.
inline double reduced_value(const Call& call, int n, uint64_t i) {
  double value = input_value(call, 0, i);
  for (int r = 1; r < n; ++r) {
    const double next = input_value(call, r, i);
    switch (call.op) {
      case ReduceOp::kMax:
        value = std::max(value, next);
        break;
      case ReduceOp::kMin:
        value = std::min(value, next);
        break;
      case ReduceOp::kProd:
        value *= next;
        break;
      default:
        value += next;
    }
  }
  if (call.dtype == DType::kBool) return value != 0;
  if (call.dtype == DType::kU8) return static_cast<double>(static_cast<uint64_t>(value) % 256);
  if (call.op != ReduceOp::kAvg) return value;
  if (call.dtype == DType::kF64) return value * (1.0 / n);
  const float average = static_cast<float>(value) * static_cast<float>(1.0 / n);
  double slot = 0;
  store(call.dtype, &slot, 0, average);
  return load(call.dtype, &slot, 0);
}

/// Buffers of all ranks for one call. Inputs are written by each rank's compute stream, so the
/// producer edge is always part of the test; `out` has guard bytes on both sides.
class CallBuffers {
 public:
  CallBuffers(const std::vector<Device*>& devices, const Call& call)
      : devices_(devices), call_(call) {
    const uint64_t n = devices.size(), element = dtype_bytes(call.dtype);
    const bool all =
        call.kind == CollectiveKind::kAllToAll || call.kind == CollectiveKind::kAllToAllUneven;
    const bool gathers =
        call.kind == CollectiveKind::kAllGather || call.kind == CollectiveKind::kGather;
    const bool scatters =
        call.kind == CollectiveKind::kReduceScatter || call.kind == CollectiveKind::kScatter;
    in_count_ = call.count * (scatters || all ? n : 1);
    out_count_ = call.count * (gathers || all ? n : 1);
    for (size_t r = 0; r < n; ++r) {
      Stream& stream = devices[r]->compute();
      const uint64_t larger = std::max(in_count_, out_count_) * element;
      Part part;
      part.out_block = devices[r]->allocator().allocate(larger + 2 * kGuard, stream);
      char* base = static_cast<char*>(part.out_block->ptr) + kGuard;
      if (call.in_place) {
        part.in = gathers ? base + r * call.count * element : base;
        part.out = scatters ? base + r * call.count * element : base;
      } else {
        part.in_block = devices[r]->allocator().allocate(in_count_ * element + 1, stream);
        part.in = static_cast<char*>(part.in_block->ptr);
        part.out = base;
      }
      parts_.push_back(part);
    }
    fill();
  }

  /// Writes inputs and guards on the compute streams; again before a call is repeated.
  void fill() {
    const uint64_t body = std::max(in_count_, out_count_) * dtype_bytes(call_.dtype);
    for (size_t r = 0; r < parts_.size(); ++r) {
      host::enqueue(devices_[r]->compute().handle(),
                    [part = parts_[r], call = call_, in_count = in_count_, body, r] {
                      std::memset(part.out_block->ptr, kFill, body + 2 * kGuard);
                      for (uint64_t i = 0; i < in_count; ++i) {
                        store(call.dtype, part.in, i, input_value(call, static_cast<int>(r), i));
                      }
                    });
    }
  }

  CollectiveArgs args(int r) const {
    CollectiveArgs args;
    args.kind = call_.kind;
    args.op = call_.op;
    args.dtype = call_.dtype;
    args.count = call_.count;
    args.root = call_.root;
    if (call_.kind == CollectiveKind::kAllToAllUneven) {  // here with blocks that are even
      args.count = in_count_;
      args.send_counts.assign(devices_.size(), call_.count);
      args.receive_counts = args.send_counts;
    }
    args.in = reads(r) ? parts_[r].in : nullptr;
    args.out = writes(r) ? parts_[r].out : nullptr;
    args.stream = &devices_[r]->compute();
    if (call_.kind == CollectiveKind::kCoalesced) args.calls = halves(args);
    return args;
  }

  /// After compute waited for the work: compares and frees. Runs on the calling thread.
  void check() {
    compare();
    release();
  }

  /// Frees without a look, after a call that failed.
  void release() {
    for (Part& part : parts_) {
      part.out_block->device->allocator().free(part.out_block);
      if (part.in_block != nullptr) part.in_block->device->allocator().free(part.in_block);
    }
  }

  void compare() {
    const int n = static_cast<int>(devices_.size());
    const std::string where = call_.text(n);
    std::vector<double> reference(out_count_);
    for (int r = 0; r < n; ++r) {
      devices_[r]->compute().synchronize();
      if (r == 0 || differs_by_rank()) {
        for (uint64_t i = 0; i < out_count_; ++i) reference[i] = expected(r, i);
      }
      uint64_t wrong = 0, first = 0;
      if (!writes(r)) check_untouched(r, where);
      for (uint64_t i = 0; i < out_count_ && writes(r); ++i) {
        if (load(call_.dtype, parts_[r].out, i) != reference[i] && wrong++ == 0) first = i;
      }
      if (wrong != 0) {
        ADD_FAILURE() << where << ": rank " << r << " has " << wrong << " wrong, first at " << first
                      << ": got " << load(call_.dtype, parts_[r].out, first) << ", not "
                      << reference[first];
      }
      check_guards(r, where);
    }
  }

 private:
  // A coalesced call is here an all-reduce in two halves, with a barrier between them.
  static std::vector<CollectiveArgs> halves(const CollectiveArgs& whole) {
    CollectiveArgs first = whole, second = whole, barrier;
    first.kind = second.kind = CollectiveKind::kAllReduce;
    barrier.kind = CollectiveKind::kBarrier;
    first.count = whole.count / 2;
    second.count -= first.count;
    const uint64_t bytes = first.count * dtype_bytes(whole.dtype);
    second.in = static_cast<const char*>(whole.in) + bytes;
    second.out = static_cast<char*>(whole.out) + bytes;
    return {first, barrier, second};
  }

  static constexpr size_t kGuard = 64;
  static constexpr unsigned char kFill = 0xEE;
  struct Part {
    Block* in_block = nullptr;
    Block* out_block = nullptr;
    char* in = nullptr;
    char* out = nullptr;
  };

  bool reads(int r) const {
    const bool by_root = call_.kind == CollectiveKind::kBroadcast ||
                         call_.kind == CollectiveKind::kScatter ||
                         call_.kind == CollectiveKind::kSendReceive;
    return !by_root || r == call_.root;
  }
  bool writes(int r) const {
    if (call_.kind == CollectiveKind::kSendReceive) return r != call_.root;
    const bool by_root =
        call_.kind == CollectiveKind::kReduce || call_.kind == CollectiveKind::kGather;
    return !by_root || r == call_.root;
  }
  bool differs_by_rank() const {
    return call_.kind == CollectiveKind::kReduceScatter || call_.kind == CollectiveKind::kScatter ||
           call_.kind == CollectiveKind::kAllToAll || call_.kind == CollectiveKind::kAllToAllUneven;
  }

  double expected(int r, uint64_t i) const {
    const int n = static_cast<int>(devices_.size());
    switch (call_.kind) {
      case CollectiveKind::kBroadcast:
      case CollectiveKind::kSendReceive:
        return input_value(call_, call_.root, i);
      case CollectiveKind::kScatter:
        return input_value(call_, call_.root, static_cast<uint64_t>(r) * call_.count + i);
      case CollectiveKind::kAllToAll:
      case CollectiveKind::kAllToAllUneven:
        return input_value(call_, static_cast<int>(i / call_.count),
                           static_cast<uint64_t>(r) * call_.count + i % call_.count);
      case CollectiveKind::kGather:
      case CollectiveKind::kAllGather:
        return input_value(call_, static_cast<int>(i / call_.count), i % call_.count);
      case CollectiveKind::kReduceScatter:
        return reduced_value(call_, n, static_cast<uint64_t>(r) * call_.count + i);
      default:
        return reduced_value(call_, n, i);
    }
  }

  // A rank that only gives keeps what it has: its input in place, else the filling.
  void check_untouched(int r, const std::string& where) const {
    for (uint64_t i = 0; i < in_count_; ++i) {
      ASSERT_EQ(load(call_.dtype, parts_[r].in, i), input_value(call_, r, i))
          << where << ": the input of rank " << r << " was written at " << i;
    }
    const auto* out = reinterpret_cast<const unsigned char*>(parts_[r].out);
    for (uint64_t i = 0; i < out_count_ * dtype_bytes(call_.dtype) && !call_.in_place; ++i) {
      ASSERT_EQ(out[i], kFill) << where << ": rank " << r << " was written to at byte " << i;
    }
  }

  void check_guards(int r, const std::string& where) const {
    const auto* base = static_cast<const unsigned char*>(parts_[r].out_block->ptr);
    const uint64_t body = std::max(in_count_, out_count_) * dtype_bytes(call_.dtype);
    for (size_t i = 0; i < kGuard; ++i) {
      ASSERT_EQ(base[i], kFill) << where << ": written before the buffer of rank " << r;
      ASSERT_EQ(base[kGuard + body + i], kFill) << where << ": written behind that of rank " << r;
    }
  }

  const std::vector<Device*>& devices_;
  const Call call_;
  uint64_t in_count_ = 0;
  uint64_t out_count_ = 0;
  std::vector<Part> parts_;
};

/// One call from one thread, checked.
inline void run_checked(Group& group, const std::vector<Device*>& devices, const Call& call) {
  CallBuffers buffers(devices, call);
  std::vector<CollectiveArgs> args;
  for (size_t r = 0; r < devices.size(); ++r) args.push_back(buffers.args(static_cast<int>(r)));
  auto works = group.submit_all(args);
  for (size_t r = 0; r < devices.size(); ++r) {
    works[r]->wait_launched();
    works[r]->stream_wait(devices[r]->compute());
  }
  buffers.check();
}

/// Leaves no fault and no forced algorithm behind.
class CleanFabric : public ::testing::Test {
 protected:
  void TearDown() override {
    faults::clear();
    force_algorithm("");
  }
};

}  // namespace fabric::test
