// Captures over one or several devices and the launches of their graphs; design in fabric/graph.h.
#include "fabric/graph.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "fabric/allocator.h"
#include "fabric/error.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"
#include "fabric/path_counters.h"
#include "fabric/report.h"
#include "runtime/kernel_turns.h"
#include "runtime/launch_order.h"

namespace fabric {
namespace {

constexpr int64_t kDestroyMs = 60'000;

std::atomic<uint64_t> g_next_capture{1};

/// All graphs of the process, for reports. One is in it from its end of capture until it dies.
struct GraphRoster {
  std::mutex mutex;  // guards graphs
  std::vector<const Graph*> graphs;
};
GraphRoster& graph_roster() {
  static auto* roster = new GraphRoster;
  return *roster;
}

/// The streams that work of `device` may allocate on during a capture of `main`.
std::vector<Stream*> allocating_streams(Device& device, Stream& main) {
  std::vector<Stream*> streams = device.comms();
  for (StreamPurpose own :
       {StreamPurpose::kCompute, StreamPurpose::kCopyIn, StreamPurpose::kCopyOut}) {
    streams.push_back(&device.stream(own));
  }
  if (main.purpose() == StreamPurpose::kUser) streams.push_back(&main);
  return streams;
}

}  // namespace

void require_eager(const Device& device, const char* what) {
  if (!device.capturing()) [[likely]]
    return;
  fail(ErrorCode::kUsage,
       "%s cannot be part of a captured step (%s is capturing): do it before the capture or after "
       "a replay",
       what, device.name().c_str());
}

bool captured_together(std::span<Device* const> devices, const char* what) {
  const Device* inside = nullptr;
  const Device* outside = nullptr;
  for (const Device* device : devices) {
    const uint64_t id = device->captures().id();
    const bool same = id != 0 && (inside == nullptr || id == inside->captures().id());
    (same ? inside : outside) = device;
  }
  if (inside == nullptr || outside == nullptr) return inside != nullptr;
  fail(ErrorCode::kUsage,
       "%s cannot be captured: %s is not part of the capture that %s is in; name all devices of "
       "the group when it begins",
       what, outside->name().c_str(), inside->name().c_str());
}

// Marks all devices or none.
void Capture::claim(uint64_t id) {
  for (Stream* main : streams_) {
    Device& device = main->device();
    if (!device.captures().claim(id)) {
      require_eager(device, "another capture");
      fail(ErrorCode::kUsage, "%s: two captures began at the same time", device.name().c_str());
    }
    claimed_.push_back(&device);
  }
}

std::unique_ptr<Capture> Capture::begin(std::vector<Stream*> streams) {
  if (streams.empty()) fail(ErrorCode::kUsage, "a capture needs at least one stream");
  check_poison();
  Driver& driver = streams[0]->device().driver();
  for (size_t i = 0; i < streams.size(); ++i) {
    Device& device = streams[i]->device();
    require_eager(device, "another capture");
    if (&device.driver() != &driver) {
      fail(ErrorCode::kDevice, "one graph cannot span %s and %s: their drivers differ",
           streams[0]->device().name().c_str(), device.name().c_str());
    }
    for (size_t j = 0; j < i; ++j) {
      if (&streams[j]->device() == &device) {
        fail(ErrorCode::kUsage, "%s is in the capture twice", device.name().c_str());
      }
    }
  }
  std::unique_ptr<Capture> capture(new Capture());
  capture->streams_ = std::move(streams);
  capture->claim(g_next_capture.fetch_add(1, std::memory_order_relaxed));
  for (Stream* main : capture->streams_) {
    Device& device = main->device();
    const uint32_t pool = device.allocator().create_pool();
    capture->pools_.push_back(pool);
    for (Stream* stream : allocating_streams(device, *main)) {
      device.allocator().begin_pool(pool, *stream);
      capture->pooled_.emplace_back(&device, stream);
    }
  }
  Stream& origin = *capture->streams_[0];
  driver.begin_capture(origin.handle());
  capture->open_ = true;
  for (Stream* main : capture->streams_) order_after(*main, origin);
  return capture;
}

std::shared_ptr<Graph> Capture::end() {
  if (!open_) fail(ErrorCode::kUsage, "the capture has ended");
  Stream& origin = *streams_[0];
  std::vector<Stream*> comms;
  try {
    for (Stream* main : streams_) {
      order_after(origin, *main);
      for (Stream* comm : main->device().comms()) {
        if (comm->capturing()) comms.push_back(comm);
      }
    }
  } catch (...) {
    close();
    throw;
  }
  open_ = false;
  GraphHandle handle = nullptr;
  try {
    handle = origin.device().driver().end_capture(origin.handle());
  } catch (...) {
    close();
    throw;
  }
  static std::atomic<uint32_t> next_id{1};
  std::shared_ptr<Graph> graph(new Graph());
  graph->id_ = next_id.fetch_add(1, std::memory_order_relaxed);
  graph->handle_ = handle;
  graph->origin_ = &origin;
  for (Stream* main : streams_) graph->devices_.push_back(&main->device());
  graph->comms_ = std::move(comms);
  graph->pools_ = std::exchange(pools_, {});
  for (Device* device : claimed_) {
    for (auto& kept : device->captures().take_kept()) graph->staging_.push_back(kept);
    for (auto& need : device->captures().take_needs()) graph->needs_.push_back(std::move(need));
  }
  std::ranges::sort(graph->needs_);
  const auto twice = std::ranges::unique(graph->needs_);
  graph->needs_.erase(twice.begin(), twice.end());
  close();
  {
    std::lock_guard lock(graph_roster().mutex);
    graph_roster().graphs.push_back(graph.get());
  }
  event_log::log(EventKind::kGraph, origin.device().index(), origin.id(), kNoDevice, 0, graph->id_);
  return graph;
}

Capture::~Capture() { close(); }

// Leaves every device as it was; with a graph under way, the graph owns the pools by now.
void Capture::close() {
  if (streams_.empty()) return;
  if (std::exchange(open_, false)) {
    Stream& origin = *streams_[0];
    Driver& driver = origin.device().driver();
    try {
      for (Stream* main : streams_) order_after(origin, *main);
    } catch (const Error&) {  // the recording is broken already; it is dropped below
    }
    driver.abandon_capture(origin.handle());
  }
  for (auto [device, stream] : pooled_) device->allocator().end_pool(*stream);
  pooled_.clear();
  for (Device* device : std::exchange(claimed_, {})) {
    device->captures().release();
    device->captures().take_needs();
    for (auto& [buffer, stream] : device->captures().take_kept()) release_staging(buffer, stream);
  }
  for (size_t i = 0; i < pools_.size(); ++i) {
    streams_[i]->device().allocator().release_pool(pools_[i]);
  }
  streams_.clear();
}

void Graph::make_ready() {
  for (auto& need : needs_) need->before_run();
}

void Graph::launch(std::span<Stream* const> streams) {
  make_ready();
  std::unique_lock<std::mutex> order;
  if (!comms_.empty()) order = std::unique_lock(launch_order());
  launch_ordered(streams);
}

void Graph::launch_ordered(std::span<Stream* const> given) {
  check_poison();
  std::vector<Stream*> streams(given.begin(), given.end());
  for (Stream* comm : comms_) {
    if (std::find(streams.begin(), streams.end(), comm) == streams.end()) streams.push_back(comm);
  }
  for (Device* device : devices_) require_eager(*device, "launching a graph");
  for (Stream* stream : streams) {
    if (std::find(devices_.begin(), devices_.end(), &stream->device()) == devices_.end()) {
      fail(ErrorCode::kUsage, "a stream of %s cannot launch the graph: it was not captured over it",
           stream->device().name().c_str());
    }
  }
  std::lock_guard lock(mutex_);
  if (!needs_.empty()) {
    std::vector<kernel_turns::Part> parts;  // comm streams wait behind the graph too
    for (Stream* comm : comms_) parts.push_back({&comm->device(), comm});
    kernel_turns::take(kernel_turns::graph_owner(id_), 0, parts);
  }
  for (Stream* stream : streams) order_after(*origin_, *stream);
  origin_->device().driver().launch_graph(handle_, origin_->handle());
  if (!last_) last_ = Event(origin_->device());
  last_.record(*origin_);
  for (Stream* stream : streams) {
    if (stream != origin_) last_.wait(*stream);
  }
  launches_.fetch_add(1, std::memory_order_relaxed);
  path_counters::count(Path::kReplay, 0);
  event_log::log(EventKind::kGraph, origin_->device().index(), origin_->id(), kNoDevice, 0, id_, 1);
}

std::vector<GraphReport> report_graphs() {
  std::vector<GraphReport> reports;
  std::lock_guard lock(graph_roster().mutex);
  for (const Graph* graph : graph_roster().graphs) {
    GraphReport& report = reports.emplace_back(GraphReport{graph->id(), graph->launches(), {}});
    for (const Device* device : graph->devices()) report.devices.push_back(device->index());
  }
  return reports;
}

Graph::~Graph() {
  {
    std::lock_guard lock(graph_roster().mutex);
    std::erase(graph_roster().graphs, this);
  }
  if (handle_ == nullptr) return;
  try {
    // Memory of a graph that still runs must not be given back: a late one keeps it.
    if (last_ && !last_.synchronize(kDestroyMs)) return;
    origin_->device().driver().destroy_graph(handle_);
    needs_.clear();
    for (size_t i = 0; i < devices_.size(); ++i) devices_[i]->allocator().release_pool(pools_[i]);
    for (auto& [buffer, stream] : staging_) release_staging(buffer, stream);
  } catch (const Error&) {  // a poisoned fabric: the process is to end, its memory with it
  }
}

}  // namespace fabric
