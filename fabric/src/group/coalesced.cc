// See group/coalesced.h.
#include "group/coalesced.h"

#include <string>
#include <utility>

#include "group/launch.h"

namespace fabric {
namespace {

CallSite of_part(CallSite site, size_t part, size_t parts) {
  site.part = static_cast<int>(part) + 1;
  site.parts = static_cast<int>(parts);
  return site;
}

}  // namespace

uint64_t coalesced_bytes(const CollectiveArgs& args) {
  uint64_t bytes = 0;
  for (const CollectiveArgs& call : args.calls) bytes += payload_bytes(call);
  return bytes;
}

std::vector<std::vector<CollectiveArgs>> by_call(std::span<CollectiveArgs> args) {
  std::vector<std::vector<CollectiveArgs>> calls(args[0].calls.size());
  int64_t result_ms = args[0].result_ms;
  for (const CollectiveArgs& each : args) result_ms = std::min(result_ms, each.result_ms);
  for (size_t i = 0; i < calls.size(); ++i) {
    for (CollectiveArgs& each : args) {
      calls[i].push_back(std::move(each.calls[i]));
      calls[i].back().result_ms = result_ms;
    }
  }
  return calls;
}

std::optional<Disagreement> find_disagreement_in(std::span<const std::vector<CollectiveArgs>> calls,
                                                 CallSite site) {
  for (size_t i = 0; i < calls.size(); ++i) {
    if (auto odd = find_disagreement(calls[i], of_part(site, i, calls.size()))) return odd;
  }
  return std::nullopt;
}

std::optional<Error> find_bad_argument_in(std::span<const std::vector<CollectiveArgs>> calls,
                                          CallSite site) {
  for (size_t i = 0; i < calls.size(); ++i) {
    const CollectiveKind kind = calls[i][0].kind;
    if (kind == CollectiveKind::kReplay || kind == CollectiveKind::kSendReceive ||
        kind == CollectiveKind::kCoalesced) {
      return Error(ErrorCode::kUsage,
                   std::string("a ") + collective_name(kind) +
                       " cannot be coalesced with other calls: make it on its own");
    }
    if (auto bad = find_bad_argument(calls[i], of_part(site, i, calls.size()))) return bad;
  }
  return std::nullopt;
}

}  // namespace fabric
