// Plugins over the C ABI: one in C that works, whole, and ones that are wrong, each refused by name
// with nothing left behind.
#include "fabric/plugin.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "fabric/algorithm.h"
#include "fabric/graph.h"
#include "fabric/path_counters.h"
#include "group/collective_run.h"

namespace fabric {
namespace {

std::string plugin_path(const std::string& name) {
  return std::string(TEST_PLUGINS) + "/" + name + ".so";
}

std::string registered() {
  std::string names;
  for (const auto& each : algorithms()) {
    if (each->supports) names += each->name + " ";
  }
  return names;
}

bool mapped(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/" + name + ".so") != std::string::npos) return true;
  }
  return false;
}

// The last user may be a stream's thread: it lets go a moment after its work is seen to be done.
bool unmapped(const std::string& name) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (mapped(name)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

class Plugin : public test::CleanFabric {
 protected:
  ~Plugin() override {
    for (const PluginInfo& each : plugins()) unload_plugin(each.name);
  }

  // Every rank brings r + i; returns the sum that rank 1 got.
  std::vector<float> sum(Group& group, uint64_t count, int64_t result_ms = 30'000) {
    const int n = group.size();
    std::vector<std::vector<float>> in(n), out(n);
    std::vector<CollectiveArgs> parts(n);
    for (int r = 0; r < n; ++r) {
      for (uint64_t i = 0; i < count; ++i) in[r].push_back(static_cast<float>(r + i % 100));
      out[r].assign(count, -1);
      parts[r].count = count;
      parts[r].in = in[r].data();
      parts[r].out = out[r].data();
      parts[r].result_ms = result_ms;
      parts[r].stream = joins_ ? &group.device(r).compute() : nullptr;
      parts[r].joins = joins_;
    }
    auto works = group.submit_all(parts);
    try {
      for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
    } catch (...) {
      for (int r = 0; r < n; ++r) group.device(r).synchronize();  // the buffers go with this call
      throw;
    }
    return out[1];
  }

  void expect_sum(const std::vector<float>& got, int ranks) {
    for (uint64_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], static_cast<float>(ranks * (i % 100) + ranks * (ranks - 1) / 2)) << i;
    }
  }

  // An all-reduce of `count` elements of memory_, in place, as a graph.
  std::shared_ptr<Graph> captured(Group& group, uint64_t count) {
    std::vector<Stream*> streams;
    std::vector<CollectiveArgs> parts(2);
    for (int r = 0; r < 2; ++r) {
      streams.push_back(&group.device(r).compute());
      memory_[r].reserve(1000);  // graphs captured before keep the address
      memory_[r].resize(count);
      parts[r].count = count;
      parts[r].in = parts[r].out = memory_[r].data();
      parts[r].stream = streams[r];
      parts[r].joins = joins_;
    }
    auto capture = Capture::begin(streams);
    auto works = group.submit_all(parts);
    for (int r = 0; r < 2; ++r) works[r]->stream_wait(*streams[r]);
    return capture->end();
  }

  void launch(Graph& graph, std::vector<Device*>& devices) {
    Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
    graph.launch(streams);
  }

  uint64_t times(const std::string& name) {
    const auto all = algorithms();
    for (size_t place = 0; place < all.size(); ++place) {
      if (all[place]->name == name) return path_counters::g_algorithms[place].times;
    }
    return 0;
  }

  std::vector<float> memory_[2];
  bool joins_ = false;  // calls run on the compute streams
};

// With calls on the comm streams, and on their callers' streams.
class PluginCalls : public Plugin, public ::testing::WithParamInterface<bool> {
 protected:
  PluginCalls() { joins_ = GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(On, PluginCalls, ::testing::Bool(), [](const auto& info) {
  return info.param ? "CallersStreams" : "CommStreams";
});

TEST_P(PluginCalls, AnAlgorithmInCSumsForAGroupAndIsChosenBySize) {
  const PluginInfo info = load_plugin(plugin_path("rank_sum"));
  EXPECT_EQ(info.name, "rank-sum");
  EXPECT_EQ(info.algorithms, std::vector<std::string>{"rank-sum"});
  for (int ranks : {2, 3, 8}) {
    auto group = Group::create(test::host_devices(ranks));
    const uint64_t before = times("rank-sum");
    expect_sum(sum(*group, 1), ranks);
    expect_sum(sum(*group, 5000), ranks);
    EXPECT_EQ(times("rank-sum"), before + 2);
    expect_sum(sum(*group, 100'000), ranks);  // beyond its line of the table
    EXPECT_EQ(times("rank-sum"), before + 2);
  }
}

TEST_P(PluginCalls, ACapturedCallReplays) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  memory_[0].assign(100, 1);
  memory_[1].assign(100, 2);
  const uint64_t before = times("rank-sum");
  auto graph = captured(*group, 100);
  EXPECT_EQ(times("rank-sum"), before + 1);
  group.reset();  // the graph keeps what it needs of it
  unload_plugin("rank-sum");
  EXPECT_TRUE(mapped("rank_sum"));
  for (int run = 0; run < 3; ++run) launch(*graph, devices);
  for (Device* device : devices) device->synchronize();
  EXPECT_EQ(memory_[0][99], 12);  // 3, 6, 12
  EXPECT_EQ(memory_[1][0], 12);
  graph.reset();
  EXPECT_TRUE(unmapped("rank_sum"));
}

TEST_P(PluginCalls, WorkThatWaitsForNobodyLeavesAtTheDeadlineAndTheGroupWorksAgain) {
  load_plugin(plugin_path("rank_sum"));
  auto group = Group::create(test::host_devices(3));
  expect_sum(sum(*group, 64), 3);
  const auto begin = std::chrono::steady_clock::now();
  try {
    sum(*group, 13, 80);
    FAIL() << "the call was to time out";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCollectiveTimeout) << error.message();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1080));
  expect_sum(sum(*group, 64), 3);
  EXPECT_EQ(group->stats().timeouts, 1u);
}

TEST_P(PluginCalls, AbortReachesWorkThatRuns) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  float memory[2][13] = {};
  std::vector<CollectiveArgs> parts(2);
  for (int r = 0; r < 2; ++r) {
    parts[r].count = 13;
    parts[r].in = parts[r].out = memory[r];
    parts[r].stream = &devices[r]->compute();
    parts[r].joins = joins_;
  }
  auto works = group->submit_all(parts);
  group->abort(Error(ErrorCode::kGroupAborted, "enough"));
  EXPECT_THROW(works[0]->synchronize(10'000), Error);
  for (Device* device : devices) device->synchronize(10'000);  // it has left
  group->reset();
  expect_sum(sum(*group, 64), 2);
}

TEST_P(PluginCalls, AbortReachesAGraphThatNobodyWatches) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  auto graph = captured(*group, 13);
  launch(*graph, devices);
  group->abort(Error(ErrorCode::kGroupAborted, "enough"));
  for (Device* device : devices) device->synchronize(10'000);
  group->reset();
  expect_sum(sum(*group, 64), 2);
}

TEST_P(PluginCalls, AFaultThatNobodyHeardFailsTheNextCall) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  auto graph = captured(*group, 14);
  launch(*graph, devices);
  for (Device* device : devices) device->synchronize(10'000);
  try {
    sum(*group, 64);
    FAIL() << "the fault was to be told";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCollectiveTimeout);
    EXPECT_NE(error.message().find("rank 0 (host:0) left its kernel at its deadline"),
              std::string::npos)
        << error.message();
    EXPECT_NE(error.message().find("waited for rank 1 (host:1) in 'a flag that nobody sets'"),
              std::string::npos)
        << error.message();
  }
  expect_sum(sum(*group, 64), 2);
}

// Kernels of a graph look at the same words as those of calls: without a fresh start they would leave
// at once, at every run.
TEST_P(PluginCalls, AGraphRunsAgainAfterADeadlineAndAnAbort) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  memory_[0].assign(100, 1);
  memory_[1].assign(100, 2);
  auto graph = captured(*group, 100);
  EXPECT_THROW(sum(*group, 13, 80), Error);
  launch(*graph, devices);  // 3
  for (Device* device : devices) device->synchronize(10'000);
  EXPECT_EQ(memory_[0][99], 3);
  group->abort(Error(ErrorCode::kGroupAborted, "enough"));
  group->reset();
  std::vector<CollectiveArgs> parts(2);
  for (int r = 0; r < 2; ++r) {
    parts[r].kind = CollectiveKind::kReplay;
    parts[r].graph = graph;
    parts[r].stream = &devices[r]->compute();
  }
  for (auto& work : group->submit_all(parts)) EXPECT_TRUE(work->synchronize(10'000));  // 6
  EXPECT_EQ(memory_[1][0], 6);
  group.reset();  // the graph is made ready without its group too
  launch(*graph, devices);
  for (Device* device : devices) device->synchronize(10'000);
  EXPECT_EQ(memory_[1][0], 12);
}

TEST_P(PluginCalls, AFaultThatNobodyHeardFailsTheNextRunOfAGraph) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  auto broken = captured(*group, 14);
  auto graph = captured(*group, 100);
  memory_[0].assign(100, 1);
  memory_[1].assign(100, 2);
  launch(*broken, devices);
  for (Device* device : devices) device->synchronize(10'000);
  try {
    launch(*graph, devices);
    FAIL() << "the fault was to be told";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCollectiveTimeout) << error.message();
  }
  launch(*graph, devices);
  for (Device* device : devices) device->synchronize(10'000);
  EXPECT_EQ(memory_[0][99], 3);
}

TEST_P(PluginCalls, UnloadingTakesItAwayAtOnceAndUnmapsItWhenNothingUsesIt) {
  load_plugin(plugin_path("rank_sum"));
  auto group = Group::create(test::host_devices(2));
  expect_sum(sum(*group, 64), 2);
  unload_plugin("rank-sum");
  EXPECT_TRUE(mapped("rank_sum"));  // the group has it open
  const uint64_t before = times("copy-oneshot");
  expect_sum(sum(*group, 64), 2);
  EXPECT_EQ(times("copy-oneshot"), before + 1);
  group.reset();
  EXPECT_TRUE(unmapped("rank_sum"));
  EXPECT_THROW(unload_plugin("rank-sum"), Error);
  load_plugin(plugin_path("rank_sum"));  // and again
  group = Group::create(test::host_devices(2));
  expect_sum(sum(*group, 64), 2);
}

TEST_F(Plugin, AGroupThatGoesWhileItsCallIsHeldOnTheCallersStreamKeepsThePlugin) {
  load_plugin(plugin_path("rank_sum"));
  auto devices = test::host_devices(2);
  auto group = Group::create(devices);
  joins_ = true;
  expect_sum(sum(*group, 64), 2);
  test::Gate gate;
  gate.hold(devices[1]->compute());
  float memory[2][64] = {};
  std::vector<CollectiveArgs> parts(2);
  for (int r = 0; r < 2; ++r) {
    parts[r].count = 64;
    parts[r].in = parts[r].out = memory[r];
    parts[r].stream = &devices[r]->compute();
    parts[r].joins = true;
    parts[r].result_ms = 1000;  // so long the call, which nobody asks about, may keep what it needs
  }
  group->submit_all(parts);
  group.reset();
  unload_plugin("rank-sum");
  EXPECT_TRUE(mapped("rank_sum"));
  gate.open();
  for (Device* device : devices) device->synchronize();
  EXPECT_TRUE(unmapped("rank_sum"));
}

struct BadPlugin {
  const char* file;
  const char* says;
};

class Refused : public Plugin, public ::testing::WithParamInterface<BadPlugin> {};

TEST_P(Refused, LeavesTheProcessAsItWas) {
  const std::string before = registered();
  try {
    load_plugin(plugin_path(GetParam().file));
    FAIL() << "it was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPlugin);
    EXPECT_NE(error.message().find(GetParam().says), std::string::npos) << error.message();
    EXPECT_NE(error.message().find(GetParam().file), std::string::npos) << error.message();
  }
  EXPECT_EQ(registered(), before);
  EXPECT_TRUE(plugins().empty());
  EXPECT_FALSE(mapped(GetParam().file));
}

INSTANTIATE_TEST_SUITE_P(
    Plugins, Refused,
    ::testing::Values(
        BadPlugin{"bad_plugin_0",
                  "built for version 7.3 of the plugin interface, this weft has 1.3"},
        BadPlugin{"bad_plugin_1", "needs version 1.6 of the plugin interface, this weft has 1.3"},
        BadPlugin{"bad_plugin_2", "lacks a name, a version or open()"},
        BadPlugin{"bad_plugin_3", "the second half is missing"},
        BadPlugin{"bad_plugin_4", "copy-ring is registered already"},
        BadPlugin{"bad_plugin_5", "thrown in open"},
        BadPlugin{"bad_plugin_6", "says that it has 8 bytes"},
        BadPlugin{"bad_plugin_7", "says that it has 16 bytes"},
        BadPlugin{"bad_plugin_8", "exports no `weft_plugin`"},
        BadPlugin{"bad_plugin_9", "it gave no reason (status 77)"},
        BadPlugin{"bad_plugin_10", "names copy-ring, which the plugin does not bring"},
        BadPlugin{"no_such_plugin", "No such file"}),
    [](const auto& info) { return info.param.file; });

TEST_F(Plugin, AFileThatIsNoLibraryIsRefused) {
  const auto path = std::filesystem::temp_directory_path() / "weft-no-library.so";
  std::ofstream(path) << "not a library";
  try {
    load_plugin(path.string());
    FAIL() << "it was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPlugin);
    EXPECT_NE(error.message().find("weft-no-library.so"), std::string::npos) << error.message();
  }
  std::filesystem::remove(path);
}

TEST_F(Plugin, TheSamePluginTwiceIsRefused) {
  load_plugin(plugin_path("rank_sum"));
  try {
    load_plugin(plugin_path("rank_sum"));
    FAIL() << "it was loaded twice";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("rank-sum is loaded already"), std::string::npos);
  }
  EXPECT_EQ(plugins().size(), 1u);
}

}  // namespace
}  // namespace fabric
