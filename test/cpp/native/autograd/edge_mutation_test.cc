// Each wait for an event that a backward pass or a redistribution enqueues is left out in turn, on host
// devices, while one stream after the other is held back: the result must differ for every place in the
// code that makes such a wait. So none of them can be removed without a test that fails.
//
// Values differ from run to run, since memory that is used again may still hold those of the last one.
#include <dlfcn.h>
#include <execinfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "dispatch/op_table.h"
#include "fabric/faults.h"
#include "fabric/gate.h"
#include "host_values.h"
#include "ops/ops.h"
#include "parallel/joint_collective.h"

namespace weft {
namespace {

using fabric::CollectiveKind;
using fabric::Group;
using Values = std::vector<std::vector<double>>;

/// Long enough for streams that nothing holds.
constexpr std::chrono::milliseconds kNotHeld{60};
constexpr int64_t kTimeoutMs = 20'000;
constexpr int kDevices = 3;
constexpr int kTries = 8;  // of one place

Device& device(int i) { return fabric::open_device("host:" + std::to_string(i)); }

/// The return address of who asked for a wait, by Event::wait() or order_after().
using Place = std::array<void*, 1>;

/// The waits of one run by place, and which is left out.
struct Waits {
  std::map<Place, int> seen;
  std::optional<std::pair<Place, int>> left_out;
};
std::mutex g_mutex;  // guards g_waits and what it points to
Waits* g_waits = nullptr;

[[gnu::noinline]] bool leave_out() {
  constexpr int kOwn = 3;  // this function, the driver's wait (it may jump here), the event's
  void* frames[kOwn + std::tuple_size_v<Place>] = {};
  backtrace(frames, static_cast<int>(std::size(frames)));
  Place place;
  std::copy_n(frames + kOwn, place.size(), place.begin());
  std::lock_guard lock(g_mutex);
  if (g_waits == nullptr) return false;
  const int number = g_waits->seen[place]++;
  return g_waits->left_out == std::pair(place, number);
}

/// While it lives waits go through `waits`.
class Filter {
 public:
  explicit Filter(Waits& waits) {
    std::lock_guard lock(g_mutex);
    g_waits = &waits;
    fabric::faults::set_wait_filter(&leave_out);
  }
  ~Filter() {
    fabric::faults::set_wait_filter(nullptr);
    std::lock_guard lock(g_mutex);
    g_waits = nullptr;
  }
};

std::string shown(const Place& place) {
  std::string text;
  for (void* address : place) {
    Dl_info info{};
    dladdr(address, &info);
    char line[32];
    std::snprintf(
        line, sizeof line, " +0x%zx",
        static_cast<size_t>(static_cast<char*>(address) - static_cast<char*>(info.dli_fbase)));
    text += line;
  }
  return text + " (addr2line -e native_tests)";
}

std::vector<Stream*> all_streams() {
  std::vector<Stream*> all;
  for (int i = 0; i < kDevices; ++i) {
    for (Stream* stream : device(i).streams()) all.push_back(stream);
  }
  return all;
}

bool drain(std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  bool all = true;
  for (Stream* stream : all_streams()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    const int64_t wait = std::max<int64_t>(left.count(), 0);
    all = stream->device().driver().synchronize_stream(stream->handle(), wait) && all;
  }
  return all;
}

/// What is tested: prepare(v) makes inputs and returns what is enqueued under the filter, which returns
/// the tensors to look at. They are v times those of v = 1.
using Body = std::function<std::vector<Tensor>()>;
using Program = std::function<Body(double v)>;

class EdgeMutation : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ensure_registered(); }
  void TearDown() override { fabric::faults::clear(); }

  Values run(const Program& program, Waits& waits, Stream* held) {
    const double v = next_value_++;
    Body body = program(v);
    EXPECT_TRUE(drain(std::chrono::milliseconds(kTimeoutMs)));
    auto gate = std::make_shared<fabric::Gate>();
    if (held != nullptr) held->device().driver().hold(held->handle(), gate);
    std::vector<Tensor> results;
    {
      const Filter filter(waits);
      results = body();
    }
    if (held != nullptr) drain(kNotHeld);
    gate->open();
    EXPECT_TRUE(drain(std::chrono::milliseconds(kTimeoutMs)));
    Values values;
    for (const Tensor& each : results) {
      values.push_back(test::values(each));
      for (double& value : values.back()) value /= v;
    }
    return values;
  }

  /// Every place that makes a wait in one of `programs` is noticed in one when it does not.
  void expect_every_place_noticed(const std::vector<Program>& programs, size_t at_least) {
    std::map<Place, bool> noticed_at;
    for (size_t i = 0; i < programs.size(); ++i) {
      const Program& program = programs[i];
      SCOPED_TRACE("program " + std::to_string(i));
      Waits whole;
      const Values expected = run(program, whole, nullptr);
      const std::vector<Stream*> streams = all_streams();
      for (Stream* held : streams) {  // with all waits it is right whatever stream is late
        Waits again;
        ASSERT_EQ(run(program, again, held), expected)
            << held->device().name() << " " << held->id();
      }
      for (const auto& [place, count] : whole.seen) {
        bool& seen = noticed_at[place];
        seen = seen || noticed(program, expected, streams, place, count);
      }
    }
    EXPECT_GE(noticed_at.size(), at_least);
    for (const auto& [place, seen] : noticed_at) {
      EXPECT_TRUE(seen) << "nobody notices when the wait at" << shown(place) << " is left out";
    }
  }

 private:
  bool noticed(const Program& program, const Values& expected, const std::vector<Stream*>& streams,
               const Place& place, int count) {
    for (int number = 0; number < std::min(count, kTries); ++number) {
      for (Stream* held : streams) {
        Waits waits;
        waits.left_out = {place, number};
        if (run(program, waits, held) != expected) return true;
      }
    }
    return false;
  }

  double next_value_ = 1;
};

/// Work on `stream` whose memory the next tensors there get: who writes to these too early loses it.
void spoil(Stream& stream) {
  StreamGuard guard(stream);
  std::vector<Tensor> list;
  for (int i = 0; i < 16; ++i) list.push_back(ops::full({64}, 777, DType::kF32, stream.device()));
}

/// x is used on two streams of its device and on another device; its gradient is accumulated twice.
Program accumulation(bool other_device) {
  static Stream& a = device(0).create_stream();
  static Stream& b = device(0).create_stream();
  static Stream& c = device(1).create_stream();
  return [=](double v) -> Body {
    Tensor x = ops::full({64}, 2, DType::kF32, device(0));
    set_requires_grad(x, true);
    Tensor base = call(Op::mul_scalar, {x, 1.0}), left, right, far;
    fabric::order_after(a, device(0).compute());
    fabric::order_after(b, device(0).compute());
    {
      StreamGuard guard(a);
      left = call(Op::mul_scalar, {base, 2.0});
    }
    {
      StreamGuard guard(b);
      right = call(Op::mul_scalar, {base, 3.0});
    }
    fabric::order_after(a, b);
    if (other_device) {
      fabric::order_after(c, device(0).compute());
      StreamGuard guard(c);
      far = call(Op::mul_scalar,
                 {call(Op::to_device, {base, static_cast<int64_t>(device(1).index())}), 4.0});
    }
    Tensor root;
    {
      StreamGuard guard(a);
      root = call(Op::add, {left, right});
      if (far) {
        StreamGuard there(c);
        root = call(Op::add,
                    {root, call(Op::to_device, {far, static_cast<int64_t>(device(0).index())})});
      }
    }
    return [=]() -> std::vector<Tensor> {
      for (Stream* stream : {&device(0).compute(), &device(1).compute(), &a, &b, &c})
        spoil(*stream);
      for (int pass = 0; pass < 2; ++pass) {
        Tensor gradient = ops::full({64}, v * (pass + 1), DType::kF32, device(0));
        backward({&root, 1}, {&gradient, 1}, {.retain_graph = true});
      }
      return {x->autograd->grad};
    };
  };
}

std::vector<Tensor> shards(double v) {
  std::vector<Tensor> parts;
  for (int r = 0; r < kDevices; ++r) {
    parts.push_back(ops::full({3, 6}, v * (r + 1), DType::kF32, device(r)));
  }
  return parts;
}

/// The sources are written on the devices' own streams just before and, with what nobody expects, after.
Program redistribution(std::function<std::vector<Tensor>(const std::vector<Tensor>&)> move) {
  return [move](double v) -> Body {
    std::vector<Tensor> parts = shards(777);
    return [=]() -> std::vector<Tensor> {
      for (int r = 0; r < kDevices; ++r) spoil(device(r).compute());
      for (int r = 0; r < kDevices; ++r) ops::fill_(parts[static_cast<size_t>(r)], v * (r + 1));
      std::vector<Tensor> moved = move(parts);
      for (const Tensor& part : parts) ops::fill_(part, -777);
      std::vector<Tensor> used;  // by the streams that asked for them
      for (const Tensor& each : moved) used.push_back(ops::mul_scalar(each, 1));
      return used;
    };
  };
}

/// Rank q gets part q along dimension 1 of every part.
std::vector<Tensor> all_to_all(const std::vector<Tensor>& parts) {
  std::vector<Tensor> out;
  for (int q = 0; q < kDevices; ++q) {
    std::vector<Tensor> blocks;
    for (const Tensor& part : parts) blocks.push_back(ops::narrow(part, 1, 2 * q, 2));
    out.push_back(ops::cat_to(blocks, 0, device(q)));
  }
  return out;
}

/// Every rank gets all parts, whole.
std::vector<Tensor> gather_all(const std::vector<Tensor>& parts) {
  std::vector<Tensor> out;
  for (int q = 0; q < kDevices; ++q) out.push_back(ops::cat_to(parts, 0, device(q)));
  return out;
}

TEST_F(EdgeMutation, NoWaitOfGradientAccumulationOrARedistributionCanBeLeftOutUnnoticed) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers change the stacks by which places are told apart";
#endif
  std::vector<Device*> list;
  for (int r = 0; r < kDevices; ++r) list.push_back(&device(r));
  auto group = Group::create(list);
  const auto by_collective = [group](const std::vector<Tensor>& parts) {
    return joint_collective(group, {.kind = CollectiveKind::kAllGather}, parts);
  };
  expect_every_place_noticed({accumulation(false), accumulation(true), redistribution(&all_to_all),
                              redistribution(&gather_all), redistribution(by_collective)},
                             8);
}

}  // namespace
}  // namespace weft
