// Send and receive: calls of Group::pair(), by the group's id and two of its ranks.
// src/fabric/group.ts makes both ends at once, src/fabric/rank-group.ts one. Works are in work.cc.
#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/coalesce.h"
#include "binding/fabric/collective_args.h"
#include "binding/fabric/group_table.h"
#include "binding/fabric/work_table.h"

namespace weft::binding {
namespace {

struct Ends {
  int from, to;
  std::shared_ptr<fabric::Group> pair;
};

// group, from, to.
Ends ends_at(Frame& f) {
  auto group = find_group(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  refuse_in_block(f, *group, "a send or a receive");
  auto rank = [&](size_t i) {
    const int64_t rank = f.signed_integer(i);
    if (rank < 0 || rank >= group->size()) {
      fail(ErrorCode::kUsage, "rank %lld is not a rank of a group of %d",
           static_cast<long long>(rank), group->size());
    }
    return static_cast<int>(rank);
  };
  const int from = rank(1), to = rank(2);
  return {from, to, group->pair(from, to)};
}

// group, from, to, input, output, timeout, result: both ends from one thread.
napi_value group_transfer(Frame& f) {
  const Ends ends = ends_at(f);
  Device &source = ends.pair->device(0), &target = ends.pair->device(1);
  const int64_t result_ms = f.signed_integer(6);
  fabric::CollectiveArgs args[] = {
      make_end(true, ends.from, source, tensor_or_none(f.number(3)), result_ms),
      make_end(false, ends.to, target, tensor_or_none(f.number(4)), result_ms)};
  const std::shared_ptr<void> held = args[1].keep_alive;
  WorkEntry entry;
  entry.devices = {&source, &target};
  entry.works = ends.pair->submit_all(args, f.signed_integer(5));
  for (auto& work : entry.works) work->wait_launched();  // both arrived: it does not wait
  note_write(held);
  for (size_t r = 0; r < 2; ++r) entry.works[r]->stream_wait(current_stream(*entry.devices[r]));
  return make_number(f.env, f.state->works->add(std::move(entry)));
}

// group, from, to, tensor, timeout, result: the end of `from`, which sends, or of `to`.
template <bool kSends>
napi_value group_end(Frame& f) {
  const Ends ends = ends_at(f);
  Device& device = ends.pair->device(kSends ? 0 : 1);
  auto args = make_end(kSends, kSends ? ends.from : ends.to, device, tensor_or_none(f.number(3)),
                       f.signed_integer(5));
  if (!kSends) note_write(args.keep_alive);
  WorkEntry entry;
  entry.devices.push_back(&device);
  entry.works.push_back(ends.pair->submit(kSends ? 0 : 1, std::move(args), f.signed_integer(4)));
  return make_number(f.env, f.state->works->add(std::move(entry)));
}

constexpr Function kFunctions[] = {
    {"groupTransfer", entry<group_transfer>},
    {"groupSend", entry<group_end<true>>},
    {"groupReceive", entry<group_end<false>>},
};

}  // namespace

FunctionList pair_functions() { return kFunctions; }

}  // namespace weft::binding
