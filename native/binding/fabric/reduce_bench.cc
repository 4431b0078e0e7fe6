// All-reduces timed beside NCCL, and the measured choice of algorithms. src/fabric/reduce-bench.ts
// and src/fabric/tuned-choices.ts call these. Open benches are the process's, by number; they block the caller.
#include "bench/reduce_bench.h"

#include <mutex>
#include <sstream>
#include <unordered_map>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/group_table.h"

namespace weft::binding {
namespace {

struct Benches {
  std::mutex mutex;  // guards the rest
  std::unordered_map<uint32_t, std::shared_ptr<bench::ReduceBench>> open;
  uint32_t next = 1;
};
Benches& benches() {
  static auto* table = new Benches();
  return *table;
}

uint32_t id_of(Frame& f) { return static_cast<uint32_t>(f.integer(0, 4294967295.0)); }

std::vector<std::string> names_of(const std::string& text) {
  std::vector<std::string> names;
  std::istringstream in(text);
  for (std::string name; std::getline(in, name, ',');) names.push_back(name);
  return names;
}

// ncclVersion(path): number; opens the library, with multicast off
napi_value nccl_version(Frame& f) {
  return make_number(f.env, bench::Nccl::open(f.text(0))->version);
}

// reduceBenchOpen(group, maxBytes, dtype, inPlace, ncclPath, kind): number; "" measures without NCCL
napi_value bench_open(Frame& f) {
  auto group = find_group(id_of(f));
  const auto dtype = static_cast<DType>(f.integer(2, fabric::kDTypeCount - 1));
  const std::string path = f.text(4);
  const auto kind = static_cast<fabric::CollectiveKind>(f.integer(5, fabric::kCollectiveKinds - 1));
  std::shared_ptr<const bench::Nccl> nccl;
  if (!path.empty()) nccl = bench::Nccl::open(path);
  auto made = std::make_shared<bench::ReduceBench>(std::move(group), f.integer(1), dtype, f.flag(3),
                                                   std::move(nccl), kind);
  Benches& table = benches();
  std::lock_guard<std::mutex> guard(table.mutex);
  table.open[table.next] = std::move(made);
  return make_number(f.env, table.next++);
}

napi_value numbers(napi_env env, const std::vector<double>& list) {
  napi_value out = make_array(env, list.size());
  for (uint32_t i = 0; i < list.size(); ++i) set(env, out, i, make_number(env, list[i]));
  return out;
}

std::shared_ptr<bench::ReduceBench> bench_at(Frame& f) {
  std::lock_guard<std::mutex> guard(benches().mutex);
  auto it = benches().open.find(id_of(f));
  if (it == benches().open.end()) fail(ErrorCode::kDisposed, "the bench was closed");
  return it->second;
}

// reduceBenchMeasure(id, bytes, rounds, calls, graphCalls, only): NativeMeasured[]
napi_value bench_measure(Frame& f) {
  auto open = bench_at(f);
  bench::ReducePlan plan;
  plan.bytes = f.integer(1);
  plan.rounds = static_cast<int>(f.integer(2, 100'000));
  plan.calls = static_cast<int>(f.integer(3, 100'000));
  plan.graph_calls = static_cast<int>(f.integer(4, 10'000));
  plan.only = names_of(f.text(5));
  if (plan.rounds < 1 || plan.calls < 1) {
    fail(ErrorCode::kUsage, "a bench needs at least one round of one call");
  }
  const std::vector<bench::Measured> results = open->measure(plan);
  napi_value out = make_array(f.env, results.size());
  for (uint32_t i = 0; i < results.size(); ++i) {
    const bench::Measured& each = results[i];
    napi_value row = make_object(f.env);
    set(f.env, row, "label", make_text(f.env, each.label));
    set(f.env, row, "algorithm", make_text(f.env, each.algorithm));
    set(f.env, row, "wrong", make_number(f.env, static_cast<double>(each.wrong)));
    set(f.env, row, "eagerUs", numbers(f.env, each.eager_us));
    set(f.env, row, "graphUs", numbers(f.env, each.graph_us));
    set(f.env, row, "error", make_text(f.env, each.error));
    set(f.env, out, i, row);
  }
  return out;
}

// reduceBenchStart(id, label, bytes, calls, group, streams: number[]): void; a stream a rank
napi_value bench_start(Frame& f) {
  auto group = find_group(static_cast<uint32_t>(f.integer(4, 4294967295.0)));
  std::vector<Stream*> streams;
  for (const uint16_t id : f.device_list(5)) {
    const auto rank = static_cast<int>(streams.size());
    Stream* stream = rank < group->size() ? group->device(rank).find_stream(id) : nullptr;
    if (stream == nullptr) fail(ErrorCode::kUsage, "rank %d has no stream %d", rank, id);
    streams.push_back(stream);
  }
  bench_at(f)->start(f.text(1), f.integer(2), static_cast<int>(f.integer(3, 100'000)), streams);
  return undefined(f.env);
}

// reduceBenchSpoil(id, label, bytes): void
napi_value bench_spoil(Frame& f) {
  bench_at(f)->spoil(f.text(1), f.integer(2));
  return undefined(f.env);
}

// reduceBenchWrong(id, label, bytes): number
napi_value bench_wrong(Frame& f) {
  return make_number(f.env, static_cast<double>(bench_at(f)->wrong(f.text(1), f.integer(2))));
}

// reduceBenchClose(id): void
napi_value bench_close(Frame& f) {
  std::shared_ptr<bench::ReduceBench> dying;
  std::lock_guard<std::mutex> guard(benches().mutex);
  auto it = benches().open.find(id_of(f));
  if (it == benches().open.end()) return undefined(f.env);
  dying = std::move(it->second);
  benches().open.erase(it);
  return undefined(f.env);
}

struct TunedGroups {
  std::mutex mutex;  // guards lines
  std::unordered_map<uint32_t, std::vector<fabric::Choice>> lines;
};
TunedGroups& tuned_groups() {
  static auto* table = new TunedGroups();
  return *table;
}

// tuneGroup(group, names, numbers): void; {kind, maxBytes, dtype, inPlace} a name, -1 for any dtype or placement; no
// names: as untuned
napi_value tune_group(Frame& f) {
  const uint32_t group = id_of(f);
  const std::vector<std::string> names = names_of(f.text(1));
  napi_typedarray_type type;
  size_t count = 0;
  void* data = nullptr;
  WEFT_NAPI(napi_get_typedarray_info(f.env, f.values[2], &type, &count, &data, nullptr, nullptr));
  if (type != napi_float64_array || count != 4 * names.size()) {
    fail(ErrorCode::kUsage, "%zu choices have %zu numbers in a Float64Array, 4 each", names.size(),
         count);
  }
  const auto* w = static_cast<const double*>(data);
  std::vector<fabric::Choice> lines;
  for (const std::string& name : names) {
    fabric::Choice line{static_cast<fabric::CollectiveKind>(w[0]), name};
    if (w[1] < 9007199254740992.0) line.max_bytes = static_cast<uint64_t>(w[1]);
    if (w[2] >= 0) line.dtype = static_cast<DType>(w[2]);
    if (w[3] >= 0) line.in_place = w[3] != 0;
    line.group = group;
    lines.push_back(std::move(line));
    w += 4;
  }
  TunedGroups& tuned = tuned_groups();
  std::lock_guard<std::mutex> guard(tuned.mutex);
  if (lines.empty() && !tuned.lines.contains(group)) return undefined(f.env);
  if (lines.empty()) {
    tuned.lines.erase(group);
  } else {
    tuned.lines[group] = std::move(lines);
  }
  std::vector<fabric::Choice> all;
  for (const auto& [id, own] : tuned.lines) all.insert(all.end(), own.begin(), own.end());
  fabric::set_choices(std::move(all));
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"ncclVersion", entry<nccl_version>},         {"reduceBenchOpen", entry<bench_open>},
    {"reduceBenchMeasure", entry<bench_measure>}, {"reduceBenchClose", entry<bench_close>},
    {"reduceBenchStart", entry<bench_start>},     {"reduceBenchSpoil", entry<bench_spoil>},
    {"reduceBenchWrong", entry<bench_wrong>},     {"tuneGroup", entry<tune_group>},
};

}  // namespace

FunctionList reduce_bench_functions() { return kFunctions; }

}  // namespace weft::binding
