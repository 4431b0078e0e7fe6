// Snapshots: devices, links, streams, memory, groups with their open calls, graphs, counters, tags,
// names of plugins' operators and events in one packed buffer. src/fabric/snapshot.ts decodes it; the layout is
// snapshot_layout.h. The buffer is also the snapshot file.
#include <chrono>
#include <cstring>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/snapshot_layout.h"
#include "binding/tensor/gemm_policy.h"
#include "fabric/algorithm.h"
#include "fabric/event_log.h"
#include "fabric/event_tags.h"
#include "fabric/fabric.h"
#include "fabric/path_counters.h"
#include "fabric/report.h"
#include "plugin/registrar.h"

namespace weft::binding {
namespace {

using fabric::EventRecord;
using namespace snapshot_layout;

class Packer {
 public:
  Text text(const std::string& value) {
    Text at{static_cast<uint32_t>(strings_.size()), static_cast<uint32_t>(value.size())};
    strings_ += value;
    return at;
  }
  std::vector<DeviceRow> devices;
  std::vector<LinkRow> links;
  std::vector<StreamRow> streams;
  std::vector<MemoryRow> memory;
  std::vector<CounterRow> counters;
  std::vector<GroupRow> groups;
  std::vector<SeatRow> seats;
  std::vector<CallRow> calls;
  std::vector<ArrivalRow> arrivals;
  std::vector<GraphRow> graphs;
  std::vector<AlgorithmRow> algorithms;
  std::vector<Text> poison;  ///< the reason, none when not poisoned
  std::vector<Text> tags;
  std::vector<OperatorRow> operators;
  std::vector<PoolRow> pools;
  std::vector<ProbeRow> probes;

  void count(const std::string& name, double value) { counters.push_back({text(name), value}); }

  /// Lays everything out in one buffer of JavaScript.
  napi_value pack(napi_env env, Header header, const EventRecord* events, size_t event_count) {
    struct Part {
      SectionKind kind;
      const void* data;
      size_t count, bytes;
    };
    const Part parts[kSections] = {
        {kStrings, strings_.data(), strings_.size(), strings_.size()},
        {kDevices, devices.data(), devices.size(), devices.size() * sizeof(DeviceRow)},
        {kLinks, links.data(), links.size(), links.size() * sizeof(LinkRow)},
        {kStreams, streams.data(), streams.size(), streams.size() * sizeof(StreamRow)},
        {kMemory, memory.data(), memory.size(), memory.size() * sizeof(MemoryRow)},
        {kCounters, counters.data(), counters.size(), counters.size() * sizeof(CounterRow)},
        {kEvents, events, event_count, event_count * sizeof(EventRecord)},
        {kGroups, groups.data(), groups.size(), groups.size() * sizeof(GroupRow)},
        {kSeats, seats.data(), seats.size(), seats.size() * sizeof(SeatRow)},
        {kCalls, calls.data(), calls.size(), calls.size() * sizeof(CallRow)},
        {kArrivals, arrivals.data(), arrivals.size(), arrivals.size() * sizeof(ArrivalRow)},
        {kGraphs, graphs.data(), graphs.size(), graphs.size() * sizeof(GraphRow)},
        {kAlgorithms, algorithms.data(), algorithms.size(),
         algorithms.size() * sizeof(AlgorithmRow)},
        {kPoison, poison.data(), poison.size(), poison.size() * sizeof(Text)},
        {kTags, tags.data(), tags.size(), tags.size() * sizeof(Text)},
        {kOperators, operators.data(), operators.size(), operators.size() * sizeof(OperatorRow)},
        {kPools, pools.data(), pools.size(), pools.size() * sizeof(PoolRow)},
        {kProbes, probes.data(), probes.size(), probes.size() * sizeof(ProbeRow)},
    };
    Section sections[kSections];
    size_t at = sizeof(Header) + sizeof(sections);
    for (uint32_t i = 0; i < kSections; ++i) {
      sections[i] = {parts[i].kind, static_cast<uint32_t>(parts[i].count),
                     static_cast<uint32_t>(at), static_cast<uint32_t>(parts[i].bytes)};
      at = (at + parts[i].bytes + 7) / 8 * 8;
    }
    header.bytes = static_cast<uint32_t>(at);
    void* data = nullptr;
    napi_value buffer = make_buffer(env, at, &data);
    char* out = static_cast<char*>(data);
    std::memcpy(out, &header, sizeof(header));
    std::memcpy(out + sizeof(header), sections, sizeof(sections));
    for (uint32_t i = 0; i < kSections; ++i) {
      if (parts[i].bytes > 0) std::memcpy(out + sections[i].offset, parts[i].data, parts[i].bytes);
    }
    return buffer;
  }

 private:
  std::string strings_;
};

/// What `ask` answers; `lost` where a device failed for good and answers nothing. Its snapshot is
/// wanted all the more.
template <typename F, typename T>
T answer(F ask, T lost) {
  try {
    return ask();
  } catch (const Error&) {
    if (!fabric::poisoned()) throw;
    return lost;
  }
}

void add_device(Packer& packer, Device& device) {
  const fabric::DeviceProperties& p = device.properties();
  packer.devices.push_back({device.index(), static_cast<uint16_t>(device.kind()), device.ordinal(),
                            device.virtual_index(), p.multiprocessors, p.total_bytes,
                            packer.text(device.name()), packer.text(p.model), packer.text(p.uuid),
                            packer.text(p.pci), static_cast<uint16_t>(p.capability_major),
                            static_cast<uint16_t>(p.capability_minor), 0});
  for (Stream* stream : device.streams()) {
    const bool idle = answer([&] { return stream->idle(); }, false);
    packer.streams.push_back(
        {device.index(), stream->id(), static_cast<uint8_t>(stream->purpose()), idle, 0});
  }
  TensorCounts counts = tensor_counts(device);
  packer.memory.push_back({device.index(), static_cast<uint64_t>(counts.tensors),
                           static_cast<uint64_t>(counts.bytes), device.allocator().stats()});
  for (const fabric::PoolInfo& pool : device.allocator().pools()) {
    packer.pools.push_back({device.index(), static_cast<uint8_t>(pool.small), 0, pool.id,
                            static_cast<uint32_t>(pool.segments), 0, pool.reserved_bytes,
                            pool.free_bytes});
  }
}

void add_group(Packer& packer, const fabric::GroupReport& g) {
  packer.groups.push_back({g.id, static_cast<uint32_t>(g.ranks.size()), packer.text(g.name),
                           packer.text(g.aborted), g.stats.calls, g.stats.bytes, g.stats.desyncs,
                           g.stats.timeouts, g.stats.aborts,
                           static_cast<uint32_t>(packer.seats.size()), 0});
  for (const fabric::RankSeat& seat : g.ranks) {
    packer.seats.push_back(
        {seat.device, static_cast<uint32_t>(seat.last), seat.calls, seat.last_ns});
  }
  for (const fabric::OpenCall& call : g.calls) {
    packer.calls.push_back({g.id, static_cast<uint32_t>(call.state), call.sequence, call.since_ns,
                            call.launched_ns, call.deadline_ns,
                            static_cast<uint32_t>(packer.arrivals.size()),
                            static_cast<uint32_t>(call.ranks.size())});
    for (const fabric::CallRank& r : call.ranks) {
      packer.arrivals.push_back({r.arrived_ns, r.count, static_cast<uint8_t>(r.kind),
                                 static_cast<uint8_t>(r.op), static_cast<uint8_t>(r.dtype), r.done,
                                 r.root});
    }
  }
}

void add_work(Packer& packer) {
  for (const auto& group : fabric::report_groups()) add_group(packer, group);
  for (const fabric::GraphReport& graph : fabric::report_graphs()) {
    std::string devices;
    for (uint16_t device : graph.devices) {
      devices += (devices.empty() ? "" : " ") + std::to_string(device);
    }
    packer.graphs.push_back({graph.id, 0, graph.launches, packer.text(devices)});
  }
  const auto algorithms = fabric::algorithms();
  for (size_t i = 0; i < algorithms.size() && i < fabric::path_counters::kAlgorithms; ++i) {
    const auto& counter = fabric::path_counters::g_algorithms[i];
    packer.algorithms.push_back({packer.text(algorithms[i]->name), counter.times, counter.bytes});
  }
  for (size_t i = 0; i < fabric::path_counters::kPaths; ++i) {
    const std::string name = fabric::path_counters::name(static_cast<fabric::Path>(i));
    const auto& counter = fabric::path_counters::g_paths[i];
    packer.count(name, static_cast<double>(counter.times));
    packer.count(name + "_bytes", static_cast<double>(counter.bytes));
  }
  if (fabric::poisoned()) packer.poison.push_back(packer.text(fabric::poison_reason()));
  for (const auto& each : plugin::logged_names()) {
    packer.operators.push_back({static_cast<uint32_t>(each.id), 0, packer.text(each.name)});
  }
}

napi_value snapshot(Frame& f) {
  uint64_t since = f.integer(0);
  uint64_t limit = f.integer(1, 1 << 24);
  fabric::event_log::collect_device_times();
  Packer packer;
  std::vector<Device*> devices = fabric::devices();
  for (Device* device : devices) add_device(packer, *device);
  const std::vector<fabric::Link> links =
      answer([&] { return fabric::topology(devices); }, std::vector<fabric::Link>());
  for (const fabric::Link& link : links) {
    packer.links.push_back({link.from, link.to, link.peer_access, link.gbps, packer.text(link.kind),
                            link.nominal_gbps, packer.text(link.through),
                            static_cast<uint32_t>(link.lanes), 0});
    if (!link.probe) continue;
    const auto& [copy, kernel, reason] = *link.probe;
    packer.probes.push_back({link.from,
                             link.to,
                             static_cast<uint8_t>(copy.state),
                             static_cast<uint8_t>(kernel.state),
                             0,
                             packer.text(reason),
                             {copy.gbps, copy.both_gbps, copy.latency_us},
                             {kernel.gbps, kernel.both_gbps, kernel.latency_us}});
  }
  packer.count("staging_bytes", static_cast<double>(fabric::staging_bytes()));
  packer.count("live_handles", static_cast<double>(handles::live()));
  packer.count("deterministic", deterministic() ? 1.0 : 0.0);
  add_work(packer);

  // One scratch area a thread, grown once, so that a snapshot allocates only its result.
  static thread_local std::vector<EventRecord> scratch;
  uint64_t room = std::min<uint64_t>(limit, fabric::event_log::capacity());
  if (scratch.size() < room) scratch.resize(room);
  size_t count = 0;
  fabric::EventSlice slice = fabric::event_log::read(since, room, scratch.data(), &count);
  for (const std::string& tag : fabric::event_log::tag_names()) {
    packer.tags.push_back(packer.text(tag));
  }

  Header header{};
  header.magic = kMagic;
  header.version = kVersion;
  header.sections = kSections;
  header.taken_ns = fabric::event_log::now_ns();
  header.taken_unix_ms =
      std::chrono::duration<double, std::milli>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  header.next_sequence = slice.next_sequence;
  header.dropped = slice.dropped;
  header.skipped = static_cast<uint32_t>(slice.skipped);  // at most the capacity
  header.capacity = fabric::event_log::capacity();
  header.log_mode = static_cast<uint32_t>(fabric::event_log::mode());
  return packer.pack(f.env, header, scratch.data(), count);
}

constexpr Function kFunctions[] = {{"snapshot", entry<snapshot>}};

}  // namespace

FunctionList snapshot_functions() { return kFunctions; }

}  // namespace weft::binding
