// The gradient reducer for TypeScript: one instance a replica, by number, in a process-wide table
// so that an ended worker's instance can be dropped. src/fabric/reducer.ts calls these.
#include "parallel/reducer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "binding/entry.h"
#include "binding/fabric/group_table.h"

namespace weft::binding {
namespace {

struct Entry {
  std::shared_ptr<Reducer> reducer;
  uint32_t owner;  // the environment that made it
};
struct ReducerTable {
  std::mutex mutex;  // guards the rest
  std::unordered_map<uint32_t, Entry> entries;
  uint32_t next = 1;
};
ReducerTable& table() {
  static auto* t = new ReducerTable();
  return *t;
}

std::shared_ptr<Reducer> reducer_at(Frame& f) {
  auto id = static_cast<uint32_t>(f.integer(0, 4294967295.0));
  std::lock_guard<std::mutex> guard(table().mutex);
  auto it = table().entries.find(id);
  if (it == table().entries.end()) fail(ErrorCode::kUsage, "reducer %u was disposed of", id);
  return it->second.reducer;
}

/// A group and a rank of it at `at`; 0: none.
GroupPlace place_at(Frame& f, size_t at) {
  const auto id = static_cast<uint32_t>(f.integer(at, 4294967295.0));
  if (id == 0) return {};
  return {find_group(id), static_cast<int>(f.integer(at + 1, 65535))};
}

napi_value make_numbers(napi_env env, const std::vector<double>& numbers) {
  void* data = nullptr;
  napi_value buffer = make_buffer(env, numbers.size() * sizeof(double), &data);
  std::copy(numbers.begin(), numbers.end(), static_cast<double*>(data));
  napi_value out = nullptr;
  WEFT_NAPI(napi_create_typedarray(env, napi_float64_array, numbers.size(), buffer, 0, &out));
  return out;
}

// reducerCreate(group: number, rank: number, parameters: Float64Array, bucketBytes, timeoutMs,
// unusedZero: 0 | 1, shards: group or 0, rank, replicas: group or 0, rank): number
napi_value reducer_create(Frame& f) {
  auto group = find_group(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  napi_typedarray_type type;
  size_t count;
  void* data;
  WEFT_NAPI(napi_get_typedarray_info(f.env, f.values[2], &type, &count, &data, nullptr, nullptr));
  if (type != napi_float64_array)
    fail(ErrorCode::kUsage, "reducerCreate: handles must be a Float64Array");
  std::vector<Tensor> params;
  for (size_t i = 0; i < count; ++i) {
    params.push_back(handles::get(static_cast<handles::Handle>(static_cast<double*>(data)[i])));
  }
  ReducerOptions options;
  options.bucket_bytes = f.signed_integer(3);
  options.first_bucket_bytes = std::min<int64_t>(options.first_bucket_bytes, options.bucket_bytes);
  options.timeout_ms = f.signed_integer(4);
  options.zero_unused = f.integer(5, 1) != 0;
  options.shards = place_at(f, 6);
  options.replicas = place_at(f, 8);
  auto reducer = std::make_shared<Reducer>(std::move(group), static_cast<int>(f.integer(1, 65535)),
                                           std::move(params), options);
  std::lock_guard<std::mutex> guard(table().mutex);
  uint32_t id = table().next++;
  table().entries[id] = {std::move(reducer), f.state->id};
  return make_number(f.env, id);
}

// reducerBegin(id: number, mode: 0 accumulate | 1 reduce | 2 absent, vote: number): void
napi_value reducer_begin(Frame& f) {
  reducer_at(f)->begin(static_cast<BackwardMode>(f.integer(1, 2)), f.integer(2));
  return nullptr;
}

// reducerFinish(id: number): number; blocks until all ranks have come, bounded by the timeout
napi_value reducer_finish(Frame& f) {
  return make_number(f.env, static_cast<double>(reducer_at(f)->finish()));
}

// reducerAbandon(id: number): void
napi_value reducer_abandon(Frame& f) {
  reducer_at(f)->abandon();
  return nullptr;
}

// reducerStats(id: number): {steps, timedSteps, buckets, bytes, waitUs, hostWaitUs}
napi_value reducer_stats(Frame& f) {
  ReducerStats stats = reducer_at(f)->stats();
  napi_value out = make_object(f.env);
  set(f.env, out, "steps", make_number(f.env, static_cast<double>(stats.steps)));
  set(f.env, out, "timedSteps", make_number(f.env, stats.timed_steps));
  set(f.env, out, "buckets", make_number(f.env, static_cast<double>(stats.buckets)));
  set(f.env, out, "bytes", make_number(f.env, static_cast<double>(stats.bytes)));
  set(f.env, out, "waitUs", make_number(f.env, stats.exposed_ms * 1e3));
  set(f.env, out, "hostWaitUs", make_number(f.env, stats.host_wait_ms * 1e3));
  return out;
}

// reducerOrder(id: number): Float64Array; empty until the ranks have agreed on it
napi_value reducer_order(Frame& f) {
  const std::vector<int> order = reducer_at(f)->order();
  return make_numbers(f.env, {order.begin(), order.end()});
}

// reducerShards(id: number): {gradients, parameters: Float64Array of handles, a bucket each; pieces:
// Float64Array, six numbers each: rank, bucket, parameter, offset in it, offset in the shard, elements}
napi_value reducer_shards(Frame& f) {
  GradientShards& shards = reducer_at(f)->shards();
  auto handles_of = [&](const std::vector<Tensor>& tensors) {
    std::vector<double> handles;
    for (const Tensor& t : tensors) handles.push_back(static_cast<double>(f.adopt(t)));
    return make_numbers(f.env, handles);
  };
  std::vector<double> pieces;
  for (int rank = 0; rank < shards.ranks(); ++rank) {
    for (const ShardPiece& p : shards.pieces(rank)) {
      for (const int64_t n : {int64_t{rank}, int64_t{p.bucket}, int64_t{p.param}, p.param_offset,
                              p.shard_offset, p.count}) {
        pieces.push_back(static_cast<double>(n));
      }
    }
  }
  napi_value out = make_object(f.env);
  set(f.env, out, "gradients", handles_of(shards.gradients()));
  set(f.env, out, "parameters", handles_of(shards.params()));
  set(f.env, out, "pieces", make_numbers(f.env, pieces));
  return out;
}

// reducerGather(id: number, finish: 0 | 1): void; submits the all-gathers of the parameters; 1: blocks until all
// ranks have submitted theirs and makes the current stream wait for all parameters
napi_value reducer_gather(Frame& f) {
  GradientShards& shards = reducer_at(f)->shards();
  if (f.integer(1, 1) == 0) {
    shards.begin_gather();
  } else {
    shards.finish_gather();
  }
  return nullptr;
}

// reducerAverage(id: number): void; submits the averages over the replicas that finish() has not yet
napi_value reducer_average(Frame& f) {
  reducer_at(f)->average();
  return nullptr;
}

// reducerSetOrder(id: number, order: Float64Array): void
napi_value reducer_set_order(Frame& f) {
  napi_typedarray_type type;
  size_t count;
  void* data;
  WEFT_NAPI(napi_get_typedarray_info(f.env, f.values[1], &type, &count, &data, nullptr, nullptr));
  if (type != napi_float64_array)
    fail(ErrorCode::kUsage, "reducerSetOrder: the order must be a Float64Array");
  const auto* numbers = static_cast<const double*>(data);
  std::vector<int> order;
  for (size_t i = 0; i < count; ++i) {
    const bool whole = numbers[i] >= 0 && numbers[i] < 2147483647.0;
    order.push_back(whole ? static_cast<int>(numbers[i]) : -1);
  }
  reducer_at(f)->set_order(order);
  return nullptr;
}

// reducerDispose(id: number): void
napi_value reducer_dispose(Frame& f) {
  Entry dying;  // released outside the lock: it frees the arena
  std::lock_guard<std::mutex> guard(table().mutex);
  auto it = table().entries.find(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  if (it != table().entries.end()) {
    dying = std::move(it->second);
    table().entries.erase(it);
  }
  return nullptr;
}

constexpr Function kFunctions[] = {
    {"reducerCreate", entry<reducer_create>},   {"reducerBegin", entry<reducer_begin>},
    {"reducerFinish", entry<reducer_finish>},   {"reducerAbandon", entry<reducer_abandon>},
    {"reducerStats", entry<reducer_stats>},     {"reducerDispose", entry<reducer_dispose>},
    {"reducerOrder", entry<reducer_order>},     {"reducerSetOrder", entry<reducer_set_order>},
    {"reducerShards", entry<reducer_shards>},   {"reducerGather", entry<reducer_gather>},
    {"reducerAverage", entry<reducer_average>},
};

}  // namespace

void release_reducers(uint32_t owner) {
  std::vector<Entry> dying;
  std::lock_guard<std::mutex> guard(table().mutex);
  for (auto it = table().entries.begin(); it != table().entries.end();) {
    if (it->second.owner == owner) {
      dying.push_back(std::move(it->second));
      it = table().entries.erase(it);
    } else {
      ++it;
    }
  }
}

FunctionList reducer_functions() { return kFunctions; }

}  // namespace weft::binding
