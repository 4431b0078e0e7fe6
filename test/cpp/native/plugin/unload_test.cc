// Unloading a plugin while its operators are used: the library stays for calls that are under way in other
// threads, for work on streams and for gradient graphs, and goes after them. Run under ThreadSanitizer.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "dispatch/op_table.h"
#include "fabric/plugin.h"
#include "host_values.h"
#include "plugin/registrar.h"

namespace weft {
namespace {

using namespace std::chrono_literals;

const std::string kPath = std::string(TEST_PLUGINS) + "/gate.so";

bool mapped() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/gate.so") != std::string::npos) return true;
  }
  return false;
}

// The last user may be a stream's thread: it lets go a moment after its work is seen to be done.
bool unmapped() {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (mapped()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

std::optional<Op> find() {
  for (const auto& each : plugin::live_operators()) {
    if (each.name == "gate::increment") return static_cast<Op>(each.id);
  }
  return std::nullopt;
}

Op load() {
  ensure_registered();
  fabric::load_plugin(kPath);
  return find().value();
}

Tensor input(double value, const char* device = "host:0") {
  const auto on = static_cast<double>(fabric::open_device(device).index());
  return call(Op::full, {Dims{3}, value, DType::kF32, on});
}

/// Waits for the tensor's device, then reads.
std::vector<double> read(const Tensor& t) {
  t.device().compute().synchronize();
  std::vector<double> out;
  test::for_each_element(t, [&](char* p) { out.push_back(test::read_element(p, t.dtype())); });
  return out;
}

// A call stops in `enter` until the test lets it go; both ends have a deadline.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool inside = false, open = false;

  void enter() {
    std::unique_lock lock(mutex);
    inside = true;
    changed.notify_all();
    changed.wait_for(lock, 60s, [&] { return open; });
  }
  bool wait_inside() {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 60s, [&] { return inside; });
  }
  void let_go() {
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  void install() {
    void* library = dlopen(kPath.c_str(), RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr);
    *static_cast<void (**)(void*)>(dlsym(library, "gate_inside")) = [](void* gate) {
      static_cast<Gate*>(gate)->enter();
    };
    *static_cast<void**>(dlsym(library, "gate_context")) = this;
    dlclose(library);
  }
};

TEST(PluginUnload, ACallUnderWayInAnotherThreadKeepsTheLibraryAndEndsRight) {
  const Op op = load();
  Gate gate;
  gate.install();
  Tensor made;
  std::thread caller([&] { made = call(op, {input(1)}); });
  ASSERT_TRUE(gate.wait_inside());
  fabric::unload_plugin("gate");  // does not wait for the call
  EXPECT_EQ(find(), std::nullopt);
  EXPECT_TRUE(mapped());
  try {
    call(op, {input(1)});
    ADD_FAILURE() << "a new call of an unloaded operator went through";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPlugin);
    EXPECT_NE(error.message().find("was unloaded"), std::string::npos) << error.message();
  }
  EXPECT_TRUE(mapped());
  gate.let_go();
  caller.join();
  EXPECT_EQ(read(made), (std::vector<double>{2, 2, 2}));
  EXPECT_TRUE(unmapped());
}

TEST(PluginUnload, AGradientUnderWayInAnotherThreadKeepsTheLibrary) {
  const Op op = load();
  Tensor x = input(1);
  set_requires_grad(x, true);
  Tensor made = call(op, {x});
  Gate gate;
  gate.install();
  fabric::unload_plugin("gate");
  std::thread caller([&] {
    const Tensor none, sum = call(Op::sum, {made, Dims{}, false});
    backward({&sum, 1}, {&none, 1});
    made = Tensor();
  });
  ASSERT_TRUE(gate.wait_inside());
  EXPECT_TRUE(mapped());
  gate.let_go();
  caller.join();
  EXPECT_EQ(read(x->autograd->grad), (std::vector<double>{1, 1, 1}));
  EXPECT_TRUE(unmapped());
}

TEST(PluginUnload, ThreadsThatCallWhileItComesAndGoesGetResultsOrAPluginError) {
  std::atomic<bool> over{false};
  std::atomic<int> right{0}, refused{0};
  ensure_registered();
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; ++t) {
    callers.emplace_back([&, t] {
      const std::string device = "host:" + std::to_string(t);
      while (!over) {
        const auto op = find();
        if (!op) continue;
        try {
          const Tensor made = call(*op, {input(4, device.c_str())});
          EXPECT_EQ(read(made), (std::vector<double>{5, 5, 5}));
          ++right;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kPlugin) << error.message();
          ++refused;
        }
      }
    });
  }
  // Each round waits for a call that went through, so that unloading meets calls.
  const auto end = std::chrono::steady_clock::now() + 60s;
  for (int round = 0; round < 40; ++round) {
    fabric::load_plugin(kPath);
    const int before = right;
    while (right == before && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    fabric::unload_plugin("gate");
  }
  over = true;
  for (std::thread& each : callers) each.join();
  EXPECT_GE(right, 40);
  EXPECT_TRUE(unmapped());
}

}  // namespace
}  // namespace weft
