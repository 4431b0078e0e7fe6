// Event log and snapshots: devices, links, streams, memory, counters and events in one packed
// buffer. src/fabric/snapshot.ts decodes it; the layout is below, little endian, and versioned. The
// buffer is also the snapshot file.
//
//   Header, then kSections Section entries, then the sections at their offsets. Text is (offset,
//   length) into the strings section.
#include <chrono>
#include <cstring>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/tensor/gemm_policy.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"

namespace weft::binding {
namespace {

using fabric::EventRecord;

constexpr uint32_t kMagic = 0x50534657;  // "WFSP"
constexpr uint32_t kVersion = 2;         // 2: links tell lanes, nominal GB/s and what lies between
enum SectionKind : uint32_t {
  kStrings = 1,
  kDevices,
  kLinks,
  kStreams,
  kMemory,
  kCounters,
  kEvents
};
constexpr uint32_t kSections = 7;

struct Header {
  uint32_t magic, version, bytes, sections;
  uint64_t taken_ns;  // steady clock, as in EventRecord::host_ns
  double taken_unix_ms;
  uint64_t next_sequence;
  uint64_t dropped;
  uint64_t capacity;
  uint32_t log_mode;
  uint32_t skipped;  // 0 in files of earlier versions of weft
};
struct Section {
  uint32_t kind, count, offset, bytes;
};
struct Text {
  uint32_t offset, length;
};
struct DeviceRow {
  uint16_t index, kind;
  int32_t ordinal, virtual_index, multiprocessors;
  uint64_t total_bytes;
  Text name, model, uuid, pci;
  uint16_t capability_major, capability_minor;
  uint32_t reserved;
};
struct LinkRow {
  uint16_t from, to;
  uint32_t peer_access;
  double gbps;
  Text kind;
  // From version 2 on.
  double nominal_gbps;
  Text through;
  uint32_t lanes, reserved;
};
struct StreamRow {
  uint16_t device, id;
  uint8_t purpose, idle;
  uint16_t reserved;
};
struct MemoryRow {
  uint64_t device, tensors, tensor_bytes;
  fabric::AllocatorStats stats;
};
struct CounterRow {
  Text name;
  double value;
};
static_assert(sizeof(Header) == 64 && sizeof(DeviceRow) == 64 && sizeof(LinkRow) == 48);
static_assert(sizeof(StreamRow) == 8 && sizeof(MemoryRow) == 144 && sizeof(CounterRow) == 16);

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
  }
  packer.counters.push_back(
      {packer.text("staging_bytes"), static_cast<double>(fabric::staging_bytes())});
  packer.counters.push_back({packer.text("live_handles"), static_cast<double>(handles::live())});
  packer.counters.push_back({packer.text("deterministic"), deterministic() ? 1.0 : 0.0});

  // One scratch area a thread, grown once, so that a snapshot allocates only its result.
  static thread_local std::vector<EventRecord> scratch;
  uint64_t room = std::min<uint64_t>(limit, fabric::event_log::capacity());
  if (scratch.size() < room) scratch.resize(room);
  size_t count = 0;
  fabric::EventSlice slice = fabric::event_log::read(since, room, scratch.data(), &count);

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

napi_value set_log_mode(Frame& f) {
  fabric::event_log::set_mode(static_cast<fabric::LogMode>(f.integer(0, 2)));
  return undefined(f.env);
}

napi_value log_mode(Frame& f) {
  return make_number(f.env, static_cast<int>(fabric::event_log::mode()));
}

napi_value append_test_events(Frame& f) {
  uint64_t count = f.integer(0, 1e9);
  uint64_t start = fabric::event_log::now_ns();
  for (uint64_t i = 0; i < count; ++i) {
    fabric::event_log::log(fabric::EventKind::kOperator, fabric::kNoDevice, 0, fabric::kNoDevice, i,
                           i);
  }
  double ns = static_cast<double>(fabric::event_log::now_ns() - start);
  return make_number(f.env, count > 0 ? ns / static_cast<double>(count) : 0);
}

constexpr Function kFunctions[] = {
    {"snapshot", entry<snapshot>},
    {"setLogMode", entry<set_log_mode>},
    {"logMode", entry<log_mode>},
    {"appendTestEvents", entry<append_test_events>},
};

}  // namespace

FunctionList snapshot_functions() { return kFunctions; }

}  // namespace weft::binding
