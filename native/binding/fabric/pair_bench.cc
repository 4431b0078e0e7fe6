// Pairs of devices measured: src/fabric/pair-bench.ts calls these. Open benches are the process's, by
// number; calls block.
#include "bench/pair_bench.h"

#include <mutex>
#include <unordered_map>

#include "binding/completion.h"
#include "binding/entry.h"

namespace weft::binding {
namespace {

struct Benches {
  std::mutex mutex;  // guards the rest
  std::unordered_map<uint32_t, std::shared_ptr<bench::PairBench>> open;
  uint32_t next = 1;
};
Benches& benches() {
  static auto* table = new Benches();
  return *table;
}

uint32_t id_of(Frame& f) { return static_cast<uint32_t>(f.integer(0, 4294967295.0)); }

std::shared_ptr<bench::PairBench> bench_at(Frame& f) {
  std::lock_guard<std::mutex> guard(benches().mutex);
  auto it = benches().open.find(id_of(f));
  if (it == benches().open.end()) fail(ErrorCode::kDisposed, "the bench was closed");
  return it->second;
}

napi_value numbers(napi_env env, const std::vector<double>& list) {
  napi_value out = make_array(env, list.size());
  for (uint32_t i = 0; i < list.size(); ++i) set(env, out, i, make_number(env, list[i]));
  return out;
}

// pairBenchOpen(from, to, maxBytes): number
napi_value pair_open(Frame& f) {
  auto made = std::make_shared<bench::PairBench>(f.device(0), f.device(1), f.integer(2));
  Benches& table = benches();
  std::lock_guard<std::mutex> guard(table.mutex);
  table.open[table.next] = std::move(made);
  return make_number(f.env, table.next++);
}

// pairBenchMeasure(id, bytes, ctas: number[], rounds, calls): NativePairFigure[]
napi_value pair_measure(Frame& f) {
  auto open = bench_at(f);
  std::vector<int> ctas;
  for (const uint16_t count : f.device_list(2)) ctas.push_back(count);
  const auto rounds = static_cast<int>(f.integer(3, 100'000));
  const auto calls = static_cast<int>(f.integer(4, 100'000));
  for (const int count : ctas) {
    if (count < 1) fail(ErrorCode::kUsage, "a kernel has at least one CTA");
  }
  if (rounds < 1 || calls < 1) fail(ErrorCode::kUsage, "give at least one round of one call");
  const auto figures = open->measure(f.integer(1), ctas, rounds, calls);
  napi_value out = make_array(f.env, figures.size());
  for (uint32_t i = 0; i < figures.size(); ++i) {
    const bench::PairFigure& each = figures[i];
    napi_value row = make_object(f.env);
    set(f.env, row, "way", make_text(f.env, each.way));
    set(f.env, row, "ctas", make_number(f.env, each.ctas));
    set(f.env, row, "oneUs", numbers(f.env, each.one_us));
    set(f.env, row, "bothUs", numbers(f.env, each.both_us));
    set(f.env, row, "wrong", make_number(f.env, static_cast<double>(each.wrong)));
    set(f.env, row, "error", make_text(f.env, each.error));
    set(f.env, out, i, row);
  }
  return out;
}

// pairBenchFlag(id, rounds): number
napi_value pair_flag(Frame& f) {
  return make_number(f.env, bench_at(f)->flag_ns(static_cast<int>(f.integer(1, 10'000'000))));
}

// pairBenchClose(id): void
napi_value pair_close(Frame& f) {
  std::shared_ptr<bench::PairBench> dying;
  std::lock_guard<std::mutex> guard(benches().mutex);
  auto it = benches().open.find(id_of(f));
  if (it == benches().open.end()) return undefined(f.env);
  dying = std::move(it->second);
  benches().open.erase(it);
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"pairBenchOpen", entry<pair_open>},
    {"pairBenchMeasure", entry<pair_measure>},
    {"pairBenchFlag", entry<pair_flag>},
    {"pairBenchClose", entry<pair_close>},
};

}  // namespace

FunctionList pair_bench_functions() { return kFunctions; }

}  // namespace weft::binding
