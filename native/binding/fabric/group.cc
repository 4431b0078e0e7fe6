// Groups and collective calls. The table of groups is process-wide, so that workers use the same
// group by its id. src/fabric/group.ts calls these; works are in work.cc.
#include "fabric/group.h"

#include <algorithm>
#include <mutex>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/coalesce.h"
#include "binding/fabric/collective_args.h"
#include "binding/fabric/group_table.h"
#include "binding/fabric/work_table.h"
#include "fabric/algorithm.h"
#include "fabric/fabric.h"

namespace weft::binding {
namespace {

using fabric::CollectiveArgs;
using fabric::CollectiveKind;

struct GroupTable {
  std::mutex mutex;  // guards groups
  std::unordered_map<uint32_t, std::shared_ptr<fabric::Group>> groups;
};
GroupTable& table() {
  static auto* t = new GroupTable();
  return *t;
}

std::shared_ptr<fabric::Group> group_at(Frame& f) {
  return find_group(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
}

napi_value group_create(Frame& f) {
  std::vector<Device*> devices;
  for (uint16_t index : f.device_list(0)) devices.push_back(&fabric::device_at(index));
  if (devices.empty()) fail(ErrorCode::kUsage, "a group needs at least one device");
  auto group =
      fabric::Group::create(std::move(devices), f.text(1), static_cast<int>(f.integer(2, 65535)));
  std::lock_guard<std::mutex> guard(table().mutex);
  table().groups[group->id()] = group;
  return make_number(f.env, group->id());
}

napi_value group_multiprocessors(Frame& f) {
  return make_number(f.env, group_at(f)->multiprocessors());
}

napi_value group_devices(Frame& f) {
  auto group = group_at(f);
  napi_value out = make_array(f.env, static_cast<size_t>(group->size()));
  for (int r = 0; r < group->size(); ++r) {
    set(f.env, out, static_cast<uint32_t>(r), make_number(f.env, group->device(r).index()));
  }
  return out;
}

CollectiveKind kind_at(Frame& f, size_t i) {
  auto kind = static_cast<CollectiveKind>(f.integer(i, fabric::kCollectiveKinds - 1));
  if (kind == CollectiveKind::kReplay) {
    fail(ErrorCode::kUsage, "a replay is launched by its graph, not as a collective");
  }
  if (kind == CollectiveKind::kCoalesced) {
    fail(ErrorCode::kUsage, "calls are coalesced between coalesceBegin and coalesceEnd");
  }
  if (kind == CollectiveKind::kSendReceive) {
    fail(ErrorCode::kUsage, "two ranks send and receive: groupTransfer, groupSend, groupReceive");
  }
  return kind;
}
fabric::ReduceOp op_at(Frame& f, size_t i) {
  return static_cast<fabric::ReduceOp>(f.integer(i, static_cast<int>(fabric::ReduceOp::kProd)));
}
int root_at(Frame& f, size_t i, const fabric::Group& group) {
  int64_t root = f.signed_integer(i);
  if (root < 0 || root >= group.size()) {
    fail(ErrorCode::kUsage, "root %d is not a rank of a group of %d", static_cast<int>(root),
         group.size());
  }
  return static_cast<int>(root);
}

// What `rank` sends each rank, then receives from each; row r of `table` is what r sends.
std::vector<uint64_t> counts_of(const double* table, int ranks, int rank) {
  std::vector<uint64_t> counts;
  for (int q = 0; q < ranks; ++q) counts.push_back(static_cast<uint64_t>(table[rank * ranks + q]));
  for (int q = 0; q < ranks; ++q) counts.push_back(static_cast<uint64_t>(table[q * ranks + rank]));
  return counts;
}

napi_value submit_all(Frame& f) {
  auto group = group_at(f);
  CollectiveKind kind = kind_at(f, 1);
  fabric::ReduceOp op = op_at(f, 2);
  int root = root_at(f, 3, *group);
  int64_t timeout_ms = f.signed_integer(4);
  int64_t result_ms = f.signed_integer(5);
  int ranks = group->size();
  const double* w = f.words();
  const auto words = static_cast<size_t>(ranks) * static_cast<size_t>(ranks + 2);
  if (kind == CollectiveKind::kAllToAllUneven && words > kCallWords) {
    fail(ErrorCode::kUsage, "an uneven all-to-all over %d ranks: call it rank by rank", ranks);
  }
  std::vector<CollectiveArgs> args;
  std::vector<std::shared_ptr<void>> held;  // the group lets go of keep_alive once launched
  WorkEntry entry;
  for (int r = 0; r < ranks; ++r) {
    Tensor in = tensor_or_none(w[r]), out = tensor_or_none(w[ranks + r]);
    Device& device = group->device(r);
    args.push_back(kind == CollectiveKind::kAllToAllUneven
                       ? make_uneven(ranks, r, device, std::move(in), std::move(out),
                                     counts_of(w + 2 * ranks, ranks, r), result_ms)
                       : make_args(kind, op, root, ranks, r, device, std::move(in), std::move(out),
                                   result_ms));
    args.back().joins = true;  // the stream waits for the result below
    held.push_back(args.back().keep_alive);
    entry.devices.push_back(&group->device(r));
  }
  if (CoalesceBlock* block = block_for(f, *group, CoalesceBlock::kAllRanks)) {
    block->timeout_ms = std::min(block->timeout_ms, timeout_ms);
    block->result_ms = std::min(block->result_ms, result_ms);
    for (size_t r = 0; r < args.size(); ++r) block->calls[r].push_back(std::move(args[r]));
    return make_number(f.env, block->work);
  }
  entry.group = group->id();
  entry.works = group->submit_all(args, timeout_ms);
  for (auto& work : entry.works)
    work->wait_launched();  // all arrived: this reports, it does not wait
  for (int r = 0; r < ranks; ++r) {
    note_write(held[static_cast<size_t>(r)]);
    entry.works[static_cast<size_t>(r)]->stream_wait(current_stream(group->device(r)));
  }
  return make_number(f.env, f.state->works->add(std::move(entry)));
}

napi_value submit(Frame& f) {
  auto group = group_at(f);
  int rank = static_cast<int>(f.integer(1, group->size() - 1));
  CollectiveKind kind = kind_at(f, 2);
  fabric::ReduceOp op = op_at(f, 3);
  int root = root_at(f, 4, *group);
  Tensor in = tensor_or_none(f.number(5)), out = tensor_or_none(f.number(6));
  Device& device = group->device(rank);
  const int64_t result_ms = f.signed_integer(9);
  CollectiveArgs args;
  if (kind == CollectiveKind::kAllToAllUneven) {
    const double* w = f.words();
    const std::vector<uint64_t> counts(w, w + 2 * group->size());
    args =
        make_uneven(group->size(), rank, device, std::move(in), std::move(out), counts, result_ms);
  } else {
    args = make_args(kind, op, root, group->size(), rank, device, std::move(in), std::move(out),
                     result_ms);
  }
  args.vote = f.integer(7);
  const int64_t timeout_ms = f.signed_integer(8);
  if (CoalesceBlock* block = block_for(f, *group, rank)) {
    block->timeout_ms = std::min(block->timeout_ms, timeout_ms);
    block->result_ms = std::min(block->result_ms, result_ms);
    block->vote |= args.vote;
    block->calls[0].push_back(std::move(args));
    return make_number(f.env, block->work);
  }
  note_write(args.keep_alive);
  WorkEntry entry;
  entry.devices.push_back(&group->device(rank));
  entry.works.push_back(group->submit(rank, std::move(args), timeout_ms));
  return make_number(f.env, f.state->works->add(std::move(entry)));
}

napi_value group_abort(Frame& f) {
  auto group = group_at(f);
  constexpr int kLast = 0
#define WEFT_ERROR(enumerator, cls, code) +1
#include "fabric/error_codes.def"
#undef WEFT_ERROR
      ;
  group->abort(Error(static_cast<ErrorCode>(f.integer(1, kLast)), f.text(2), f.text(3)));
  return undefined(f.env);
}

napi_value group_reset(Frame& f) {
  group_at(f)->reset();
  return undefined(f.env);
}

napi_value group_stats(Frame& f) {
  fabric::GroupStats stats = group_at(f)->stats();
  double* w = f.words();
  w[0] = static_cast<double>(stats.calls);
  w[1] = static_cast<double>(stats.bytes);
  w[2] = static_cast<double>(stats.desyncs);
  w[3] = static_cast<double>(stats.timeouts);
  return undefined(f.env);
}

napi_value group_dispose(Frame& f) {
  auto id = static_cast<uint32_t>(f.integer(0, 4294967295.0));
  std::shared_ptr<fabric::Group> dying;
  std::lock_guard<std::mutex> guard(table().mutex);
  auto it = table().groups.find(id);
  if (it != table().groups.end()) {
    dying = std::move(it->second);
    table().groups.erase(it);
  }
  return undefined(f.env);
}

napi_value list_algorithms(Frame& f) {
  auto all = fabric::algorithms();
  std::erase_if(all, [](const auto& each) { return !each->supports; });
  napi_value out = make_array(f.env, all.size());
  for (uint32_t i = 0; i < all.size(); ++i) set(f.env, out, i, make_text(f.env, all[i]->name));
  return out;
}

napi_value force_algorithm(Frame& f) {
  fabric::force_algorithm(f.text(0));
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"groupCreate", entry<group_create>},
    {"groupDevices", entry<group_devices>},
    {"groupMultiprocessors", entry<group_multiprocessors>},
    {"groupSubmitAll", entry<submit_all>},
    {"groupSubmit", entry<submit>},
    {"groupAbort", entry<group_abort>},
    {"groupReset", entry<group_reset>},
    {"groupStats", entry<group_stats>},
    {"groupDispose", entry<group_dispose>},
    {"algorithms", entry<list_algorithms>},
    {"forceAlgorithm", entry<force_algorithm>},
};

}  // namespace

std::shared_ptr<fabric::Group> find_group(uint32_t id) {
  std::lock_guard<std::mutex> guard(table().mutex);
  auto it = table().groups.find(id);
  if (it == table().groups.end())
    fail(ErrorCode::kUsage, "group %u does not exist or was disposed of", id);
  return it->second;
}

FunctionList group_functions() { return kFunctions; }

}  // namespace weft::binding
