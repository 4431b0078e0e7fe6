// Blocks of coalesced calls: begin, end, drop. src/fabric/coalesce.ts calls these around the block's
// function; see binding/fabric/coalesce.h.
#include "binding/fabric/coalesce.h"

#include <algorithm>
#include <utility>

#include "binding/completion.h"
#include "binding/fabric/collective_args.h"
#include "binding/fabric/group_table.h"
#include "binding/fabric/work_table.h"

namespace weft::binding {
namespace {

using fabric::CollectiveArgs;

// group, rank (-1: all): the work that the block's calls become.
napi_value coalesce_begin(Frame& f) {
  auto group = find_group(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  const int64_t rank = f.signed_integer(1);
  if (rank < CoalesceBlock::kAllRanks || rank >= group->size()) {
    fail(ErrorCode::kUsage, "rank %lld is not a rank of a group of %d",
         static_cast<long long>(rank), group->size());
  }
  if (f.state->block) {
    fail(ErrorCode::kUsage,
         "coalesce() of group %u inside a coalesce() block of group %u: a thread has one at a time",
         group->id(), f.state->block->group->id());
  }
  auto block = std::make_unique<CoalesceBlock>();
  block->rank = static_cast<int>(rank);
  block->calls.resize(rank < 0 ? static_cast<size_t>(group->size()) : 1);
  block->timeout_ms = block->result_ms = INT64_MAX;
  block->group = std::move(group);
  block->work = f.state->works->reserve(
      Error(ErrorCode::kUsage,
            "the call is made when its coalesce() block ends: wait for what coalesce() returns"));
  const uint32_t work = block->work;
  f.state->block = std::move(block);
  return make_number(f.env, work);
}

WorkEntry submit(Frame& f, CoalesceBlock& block, int64_t timeout_ms) {
  fabric::Group& group = *block.group;
  std::vector<CollectiveArgs> args;
  std::vector<std::shared_ptr<void>> held;  // the group lets go of keep_alive once launched
  WorkEntry entry;
  for (size_t i = 0; i < block.calls.size(); ++i) {
    Device& device = group.device(block.rank < 0 ? static_cast<int>(i) : block.rank);
    CollectiveArgs& part = args.emplace_back();
    part.kind = fabric::CollectiveKind::kCoalesced;
    part.stream = &current_stream(device);
    part.result_ms = block.result_ms;
    part.vote = block.vote;
    for (const CollectiveArgs& call : block.calls[i]) held.push_back(call.keep_alive);
    part.calls = std::move(block.calls[i]);
    entry.devices.push_back(&device);
  }
  if (block.rank >= 0) {
    for (auto& each : held) note_write(each);
    entry.works.push_back(group.submit(block.rank, std::move(args[0]), timeout_ms));
    return entry;
  }
  entry.works = group.submit_all(args, timeout_ms);
  for (auto& work : entry.works)
    work->wait_launched();  // all arrived: it reports, it does not wait
  for (auto& each : held) note_write(each);
  for (size_t r = 0; r < entry.works.size(); ++r) {
    entry.works[r]->stream_wait(current_stream(*entry.devices[r]));
  }
  return entry;
}

std::unique_ptr<CoalesceBlock> take_block(Frame& f) {
  if (!f.state->block) fail(ErrorCode::kUsage, "no coalesce() block is open on this thread");
  return std::exchange(f.state->block, nullptr);
}

// timeout, result, vote.
napi_value coalesce_end(Frame& f) {
  auto block = take_block(f);
  const int64_t timeout_ms = std::min(f.signed_integer(0), block->timeout_ms);
  block->result_ms = std::min(f.signed_integer(1), block->result_ms);
  block->vote |= f.integer(2);
  try {
    f.state->works->fill(block->work, submit(f, *block, timeout_ms));
  } catch (const Error& error) {
    f.state->works->refuse(block->work, error);
    throw;
  }
  return undefined(f.env);
}

napi_value coalesce_drop(Frame& f) {
  auto block = take_block(f);
  f.state->works->refuse(
      block->work,
      Error(ErrorCode::kUsage, "the call was not made: the coalesce() block it is in threw"));
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"coalesceBegin", entry<coalesce_begin>},
    {"coalesceEnd", entry<coalesce_end>},
    {"coalesceDrop", entry<coalesce_drop>},
};

}  // namespace

CoalesceBlock* block_for(Frame& f, const fabric::Group& group, int rank) {
  CoalesceBlock* block = f.state->block.get();
  if (block == nullptr || block->group.get() != &group) return nullptr;
  if (block->rank == rank) return block;
  if (block->rank >= 0 && rank >= 0) return nullptr;  // another rank's calls go their own way
  fail(ErrorCode::kUsage,
       block->rank < 0
           ? "a call of one rank inside a coalesce() block of all ranks of group %u: use "
             "the coalesce() of that rank"
           : "a call for all ranks inside a coalesce() block of one rank of group %u: use "
             "the coalesce() of the group",
       group.id());
}

void refuse_in_block(Frame& f, const fabric::Group& group, const char* what) {
  const CoalesceBlock* block = f.state->block.get();
  if (block == nullptr || block->group.get() != &group) return;
  fail(ErrorCode::kUsage,
       "%s cannot be coalesced with calls of group %u: make it outside the block", what,
       group.id());
}

FunctionList coalesce_functions() { return kFunctions; }

}  // namespace weft::binding
