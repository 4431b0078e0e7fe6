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
  return line.kind == shape.kind && shape.bytes <= line.max_bytes &&
         shape.ranks >= line.min_ranks && shape.ranks <= line.max_ranks &&
         (!line.dtype || *line.dtype == shape.dtype) &&
         (!line.driver || *line.driver == shape.driver) &&
         (line.group == 0 || line.group == shape.group) &&
         (!line.in_place || *line.in_place == shape.in_place);
}

std::vector<Algorithm> built_in_algorithms() {
  return {copy_ring_algorithm(), copy_oneshot_algorithm(), copy_direct_algorithm()};
}

namespace {

/// A size is one rank's block, and a reduce-scatter is to change its order of sums where an all-reduce of the
/// whole buffer does.
std::vector<Choice> small_reduce_scatters() {
  constexpr int kMostRanks = 64;
  std::vector<Choice> lines;
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
    lines.push_back({CollectiveKind::kReduceScatter, "copy-oneshot",
                     kOneshotBytes / static_cast<uint64_t>(ranks), ranks, ranks});
  }
  return lines;
}

std::vector<Choice> built_in_lines() {
  std::vector<Choice> lines = {
      {CollectiveKind::kBarrier, "copy-oneshot"},
      {CollectiveKind::kAllReduce, "copy-oneshot", kOneshotBytes},
      {CollectiveKind::kBroadcast, "copy-oneshot", kOneshotBytes},
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
  const std::vector<Choice> small = small_reduce_scatters();
  lines.insert(lines.begin(), small.begin(), small.end());
  return lines;
}

}  // namespace

const std::vector<Choice>& ChoiceTable::built_in() {
  static const std::vector<Choice> lines = built_in_lines();
  return lines;
}

}  // namespace fabric
