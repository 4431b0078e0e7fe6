// Captured steps for TypeScript, by number, in a process-wide table so that an ended worker's can
// be dropped. src/graph calls these: the first functions from one thread for all devices, those of
// groups from each rank's own thread.
#include <mutex>
#include <unordered_map>

#include "binding/entry.h"
#include "binding/fabric/group_table.h"
#include "fabric/fabric.h"
#include "graph/group_capture.h"
#include "graph/step_graph.h"

namespace weft::binding {
namespace {

template <typename T>
class Table {
 public:
  uint32_t add(std::shared_ptr<T> object, uint32_t owner) {
    std::lock_guard<std::mutex> guard(mutex_);
    entries_[next_] = {std::move(object), owner};
    return next_++;
  }
  std::shared_ptr<T> at(uint32_t id, const char* what) {
    std::lock_guard<std::mutex> guard(mutex_);
    auto it = entries_.find(id);
    if (it == entries_.end()) fail(ErrorCode::kDisposed, "%s %u was disposed of", what, id);
    return it->second.object;
  }
  std::shared_ptr<T> take(uint32_t id) {
    std::lock_guard<std::mutex> guard(mutex_);
    auto it = entries_.find(id);
    if (it == entries_.end()) return nullptr;
    auto object = std::move(it->second.object);
    entries_.erase(it);
    return object;
  }
  /// What `owner` left; it dies with the caller's list, under no lock.
  std::vector<std::shared_ptr<T>> take_all(uint32_t owner) {
    std::lock_guard<std::mutex> guard(mutex_);
    std::vector<std::shared_ptr<T>> dying;
    for (auto it = entries_.begin(); it != entries_.end();) {
      if (it->second.owner == owner) {
        dying.push_back(std::move(it->second.object));
        it = entries_.erase(it);
      } else {
        ++it;
      }
    }
    return dying;
  }

 private:
  struct Entry {
    std::shared_ptr<T> object;
    uint32_t owner;  // the environment that made it
  };
  std::mutex mutex_;  // guards the rest
  std::unordered_map<uint32_t, Entry> entries_;
  uint32_t next_ = 1;
};

Table<StepGraph>& steps() {
  static auto* table = new Table<StepGraph>();
  return *table;
}
Table<GroupCapture>& captures() {
  static auto* table = new Table<GroupCapture>();
  return *table;
}

uint32_t id_of(Frame& f, size_t i) { return static_cast<uint32_t>(f.integer(i, 4294967295.0)); }

std::span<const double> numbers(Frame& f, size_t i) {
  napi_typedarray_type type;
  size_t count = 0;
  void* data = nullptr;
  WEFT_NAPI(napi_get_typedarray_info(f.env, f.values[i], &type, &count, &data, nullptr, nullptr));
  if (type != napi_float64_array) fail(ErrorCode::kUsage, "rates must be a Float64Array");
  return {static_cast<const double*>(data), count};
}

// graphBegin(devices: number[]): number
napi_value graph_begin(Frame& f) {
  std::vector<Device*> devices;
  for (uint16_t index : f.device_list(0)) devices.push_back(&fabric::device_at(index));
  return make_number(f.env,
                     steps().add(std::make_shared<StepGraph>(std::move(devices)), f.state->id));
}

// graphEnd(id: number): void
napi_value graph_end(Frame& f) {
  steps().at(id_of(f, 0), "graph")->end();
  return nullptr;
}

// graphReplay(id: number, rates: Float64Array): void; {lr, step} of every optimizer call, one
// device after the other
napi_value graph_replay(Frame& f) {
  auto step = steps().at(id_of(f, 0), "graph");
  std::span<const double> rates = numbers(f, 1);
  size_t calls = 0;
  for (size_t slot = 0; slot < step->size(); ++slot) calls += step->calls(slot);
  if (rates.size() != 2 * calls) {
    fail(ErrorCode::kUsage, "the captured step has %zu optimizer calls, %zu rates were given",
         calls, rates.size() / 2);
  }
  for (size_t slot = 0; slot < step->size(); ++slot) {
    const size_t own = 2 * step->calls(slot);
    step->write(slot, rates.first(own));
    rates = rates.subspan(own);
  }
  step->launch();
  return nullptr;
}

// graphReplayRank(id, group, rank, rates: Float64Array, vote, timeoutMs): number; one rank's part
// of a run over a group. BLOCKS until all ranks have come; returns the bitwise or of their votes.
napi_value graph_replay_rank(Frame& f) {
  auto step = steps().at(id_of(f, 0), "graph");
  auto group = find_group(id_of(f, 1));
  const int rank = static_cast<int>(f.integer(2, 65535));
  const uint64_t vote = f.integer(4);
  if (rank >= group->size() || static_cast<size_t>(group->size()) != step->size()) {
    fail(ErrorCode::kUsage, "the graph was captured by %zu ranks; this is rank %d of %d",
         step->size(), rank, group->size());
  }
  step->write(static_cast<size_t>(rank), numbers(f, 3));
  if (group->size() == 1) {
    step->launch();
    return make_number(f.env, static_cast<double>(vote));
  }
  fabric::CollectiveArgs args;
  args.kind = fabric::CollectiveKind::kReplay;
  args.graph = step->graph();
  args.stream = &group->device(rank).compute();
  args.vote = vote;
  auto work = group->submit(rank, std::move(args), f.signed_integer(5));
  work->wait_launched();
  work->stream_wait(group->device(rank).compute());
  return make_number(f.env, static_cast<double>(work->votes()));
}

// graphDispose(id: number): void; drops an open capture; BLOCKS for the last run
napi_value graph_dispose(Frame& f) {
  steps().take(id_of(f, 0));
  return nullptr;
}

// groupCaptureJoin(group, rank, timeoutMs, part: group or 0, part: group or 0): number; parts: groups of some of the
// ranks. BLOCKS until all ranks have come
napi_value group_capture_join(Frame& f) {
  std::vector<std::shared_ptr<fabric::Group>> parts;
  for (size_t at : {3, 4}) {
    if (id_of(f, at) != 0) parts.push_back(find_group(id_of(f, at)));
  }
  auto capture = GroupCapture::join(find_group(id_of(f, 0)), static_cast<int>(f.integer(1, 65535)),
                                    f.signed_integer(2), parts);
  return make_number(f.env, captures().add(std::move(capture), f.state->id));
}

// groupCaptureEnter(id, rank): void; BLOCKS until it is this rank's turn
napi_value group_capture_enter(Frame& f) {
  captures().at(id_of(f, 0), "capture")->enter(static_cast<int>(f.integer(1, 65535)));
  return nullptr;
}

// groupCaptureLeave(id, rank): void
napi_value group_capture_leave(Frame& f) {
  captures().at(id_of(f, 0), "capture")->leave(static_cast<int>(f.integer(1, 65535)));
  return nullptr;
}

// groupCaptureFinish(id, rank, failure: string): number; the graph. BLOCKS until all ranks have
// come
napi_value group_capture_finish(Frame& f) {
  auto capture = captures().take(id_of(f, 0));
  if (!capture) fail(ErrorCode::kDisposed, "the capture has ended");
  const int rank = static_cast<int>(f.integer(1, 65535));
  const std::string failure = f.text(2);
  std::optional<Error> error;
  if (!failure.empty()) {
    error.emplace(ErrorCode::kUsage, "rank " + std::to_string(rank) + ": " + failure);
  }
  return make_number(f.env, steps().add(capture->finish(rank, error), f.state->id));
}

constexpr Function kFunctions[] = {
    {"graphBegin", entry<graph_begin>},
    {"graphEnd", entry<graph_end>},
    {"graphReplay", entry<graph_replay>},
    {"graphReplayRank", entry<graph_replay_rank>},
    {"graphDispose", entry<graph_dispose>},
    {"groupCaptureJoin", entry<group_capture_join>},
    {"groupCaptureEnter", entry<group_capture_enter>},
    {"groupCaptureLeave", entry<group_capture_leave>},
    {"groupCaptureFinish", entry<group_capture_finish>},
};

}  // namespace

void release_graphs(uint32_t owner) {
  captures().take_all(owner);
  steps().take_all(owner);
}

FunctionList graph_functions() { return kFunctions; }

}  // namespace weft::binding
