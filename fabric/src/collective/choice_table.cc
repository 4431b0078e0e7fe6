// See collective/choice_table.h.
#include "collective/choice_table.h"

#include "collective/algorithms.h"

namespace fabric {

void ChoiceTable::add(std::vector<Choice> lines) {
  lines.insert(lines.end(), added_.begin(), added_.end());
  added_ = std::move(lines);
}

void ChoiceTable::drop(const std::string& name) {
  std::erase_if(added_, [&](const Choice& line) { return line.name == name; });
}

bool ChoiceTable::fits(const Choice& line, const CallShape& shape) {
  const uint64_t most =
      line.all_blocks ? line.max_bytes / static_cast<uint64_t>(shape.ranks) : line.max_bytes;
  return line.kind == shape.kind && shape.bytes <= most && shape.ranks >= line.min_ranks &&
         shape.ranks <= line.max_ranks && (!line.dtype || *line.dtype == shape.dtype) &&
         (!line.driver || *line.driver == shape.driver) &&
         (line.group == 0 || line.group == shape.group) &&
         (!line.in_place || *line.in_place == shape.in_place);
}

std::vector<Algorithm> built_in_algorithms() {
  return {copy_ring_algorithm(), copy_oneshot_algorithm(), copy_direct_algorithm()};
}

const std::vector<Choice>& ChoiceTable::built_in() {
  static const std::vector<Choice> lines = {
      {CollectiveKind::kBarrier, "copy-oneshot"},
      {CollectiveKind::kAllReduce, "copy-oneshot", kOneshotBytes},
      {CollectiveKind::kBroadcast, "copy-oneshot", kOneshotBytes},
      // Its order of sums changes where an all-reduce of the whole buffer changes its own.
      {.kind = CollectiveKind::kReduceScatter,
       .name = "copy-oneshot",
       .max_bytes = kOneshotBytes,
       .all_blocks = true},
      {CollectiveKind::kAllReduce, "copy-ring"},
      {CollectiveKind::kBroadcast, "copy-ring"},
      {CollectiveKind::kAllGather, "copy-ring"},
      {CollectiveKind::kReduceScatter, "copy-ring"},
      {CollectiveKind::kReduce, "copy-ring"},
      {CollectiveKind::kGather, "copy-direct"},
      {CollectiveKind::kScatter, "copy-direct"},
      {CollectiveKind::kAllToAll, "copy-direct"},
      {CollectiveKind::kSendReceive, "copy-direct"},
      {CollectiveKind::kAllToAllUneven, "copy-direct"},
  };
  return lines;
}

}  // namespace fabric
