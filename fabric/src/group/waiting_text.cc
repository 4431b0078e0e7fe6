// See group/waiting_text.h.
#include "group/waiting_text.h"

#include <chrono>
#include <cstdio>
#include <ctime>

#include "fabric/event_log.h"

namespace fabric {
namespace {

std::string brought_text(const CallRank& rank) {
  std::string text = collective_name(rank.kind);
  if (!carries_data(rank.kind)) return text;
  if (rank.kind == CollectiveKind::kCoalesced) {
    return text + " calls of " + std::to_string(rank.count) + " bytes";
  }
  if (rank.kind == CollectiveKind::kAllToAllUneven) return text + " of " + dtype_name(rank.dtype);
  text += " of " + std::to_string(rank.count) + " x " + dtype_name(rank.dtype);
  if (rank.kind == CollectiveKind::kBroadcast || rank.kind == CollectiveKind::kReduce ||
      rank.kind == CollectiveKind::kGather || rank.kind == CollectiveKind::kScatter) {
    text += " with root " + std::to_string(rank.root);
  }
  if (rank.kind == CollectiveKind::kAllReduce || rank.kind == CollectiveKind::kReduce ||
      rank.kind == CollectiveKind::kReduceScatter) {
    text += std::string(" with op ") + reduce_op_name(rank.op);
  }
  return text;
}

}  // namespace

std::string since_text(uint64_t ns) {
  using std::chrono::duration_cast;
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  const int64_t age_ms = static_cast<int64_t>(event_log::now_ns() - ns) / 1'000'000;
  const int64_t at = duration_cast<std::chrono::milliseconds>(wall).count() - age_ms;
  const std::time_t seconds = at / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  std::snprintf(text, sizeof text, "since %02d:%02d:%02d.%03d UTC", utc.tm_hour, utc.tm_min,
                utc.tm_sec, static_cast<int>(at % 1000));
  return text;
}

std::string standing_text(const GroupState& group, CallSite site, const std::vector<int>& missing,
                          std::span<const CallRank> brought) {
  std::string text;
  const uint64_t now = event_log::now_ns();
  for (int rank : missing) {
    const GroupState::Seat& seat = group.seats[rank];
    const uint64_t calls = seat.calls.load(std::memory_order_relaxed);
    const uint64_t last_ns = seat.last_ns.load(std::memory_order_relaxed);
    text += "; rank " + std::to_string(site.name_of(rank)) + " (" + group.devices[rank]->name() +
            ") is before the call: it made ";
    if (calls == 0) {
      text += "no call yet";
      continue;
    }
    text += std::to_string(calls) + (calls == 1 ? " call" : " calls") + ", the last " +
            collective_name(seat.last.load(std::memory_order_relaxed)) + " " +
            std::to_string((now - last_ns) / 1'000'000) + " ms ago";
  }
  const CallRank* first = nullptr;
  for (const CallRank& rank : brought) {
    if (rank.arrived_ns == 0) continue;
    if (first == nullptr) first = &rank;
    if (brought_text(rank) == brought_text(*first)) continue;
    const auto name = [&](const CallRank& each) {
      return std::to_string(site.name_of(static_cast<int>(&each - brought.data())));
    };
    return text + "; those that came differ: rank " + name(*first) + " brought " +
           brought_text(*first) + ", rank " + name(rank) + " " + brought_text(rank);
  }
  return text;
}

}  // namespace fabric
