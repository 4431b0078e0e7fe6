// Builds the errors of collectives and their JSON fields. Called under no lock.
#include "group/desync.h"

#include <cstdio>
#include <string>

#include "fabric/event_log.h"
#include "fabric/graph.h"

namespace fabric {
namespace {

constexpr size_t kAttachedEvents = 64;

constexpr const char* kKindNames[] = {
    "all_reduce", "broadcast", "all_gather", "reduce_scatter", "reduce",       "barrier",
    "replay",     "gather",    "scatter",    "all_to_all",     "send_receive", "all_to_all_uneven",
    "coalesced"};
constexpr const char* kEventNames[] = {
#define WEFT_EVENT(enumerator, name) name,
#include "fabric/event_kinds.def"
#undef WEFT_EVENT
};

bool has_op(CollectiveKind kind) {
  return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduceScatter ||
         kind == CollectiveKind::kReduce;
}
// The first thing that differs, or nullptr.
const char* difference(const CollectiveArgs& a, const CollectiveArgs& b) {
  if (a.kind != b.kind) return "kind";
  if (a.kind == CollectiveKind::kBarrier) return nullptr;
  if (a.kind == CollectiveKind::kReplay) return a.graph == b.graph ? nullptr : "graph";
  if (a.kind == CollectiveKind::kCoalesced) {
    return a.calls.size() == b.calls.size() ? nullptr : "calls";
  }
  const bool own_count = a.kind == CollectiveKind::kAllToAllUneven;
  if (a.count != b.count && !own_count) return "count";
  if (a.dtype != b.dtype) return "dtype";
  if (has_op(a.kind) && a.op != b.op) return "op";
  if (has_root(a.kind) && a.root != b.root) return "root";
  return nullptr;
}

// What one rank called, as far as it matters for `differs`.
std::string aspect(const CollectiveArgs& args, const std::string& differs) {
  if (differs == "op") return std::string("with op ") + reduce_op_name(args.op);
  if (differs == "root") return "with root " + std::to_string(args.root);
  if (differs == "graph") return "of graph " + std::to_string(args.graph ? args.graph->id() : 0);
  if (args.kind == CollectiveKind::kCoalesced) {
    return "of " + std::to_string(args.calls.size()) + " calls";
  }
  if (!carries_data(args.kind)) return "without data";
  return "with " + shape_of(args);
}

std::string value_of(const CollectiveArgs& args, const std::string& differs) {
  auto quoted = [](const char* text) { return std::string("\"").append(text).append("\""); };
  if (differs == "kind") return quoted(collective_name(args.kind));
  if (differs == "count") return std::to_string(args.count);
  if (differs == "calls") return std::to_string(args.calls.size());
  if (differs == "dtype") return quoted(dtype_name(args.dtype));
  if (differs == "op") return quoted(reduce_op_name(args.op));
  if (differs == "graph") return std::to_string(args.graph ? args.graph->id() : 0);
  return std::to_string(args.root);
}

std::string list_of(const std::vector<int>& ranks, const char* separator, CallSite site) {
  std::string text;
  for (int rank : ranks) {
    text += (text.empty() ? "" : separator) + std::to_string(site.name_of(rank));
  }
  return text;
}

std::string site_fields(CallSite site, CollectiveKind kind) {
  const std::string part = site.parts == 0 ? "" : "\"part\":" + std::to_string(site.part - 1) + ",";
  return part + "\"group\":" + std::to_string(site.group) +
         ",\"sequence\":" + std::to_string(site.sequence) + ",\"kind\":\"" + collective_name(kind) +
         '"';
}

std::string site_text(CallSite site) {
  std::string text = part_text(site) + " (call " + std::to_string(site.sequence);
  if (!site.ranks.empty()) {
    text +=
        " from rank " + std::to_string(site.ranks[0]) + " to rank " + std::to_string(site.ranks[1]);
  }
  return text + " of group " + std::to_string(site.group) + ")";
}

// What one rank sends of an uneven all-to-all, and another expects: the first two that differ.
std::optional<Disagreement> find_uneven_blocks(std::span<const CollectiveArgs> args,
                                               CallSite site) {
  const size_t n = args.size();
  for (size_t r = 0; r < n; ++r) {
    for (size_t q = 0; q < n; ++q) {
      if (args[r].send_counts.size() != n || args[q].receive_counts.size() != n) continue;
      const uint64_t sent = args[r].send_counts[q], expected = args[q].receive_counts[r];
      if (sent == expected) continue;
      const std::string from = std::to_string(r), to = std::to_string(q);
      return Disagreement{
          static_cast<int>(q),
          Error(ErrorCode::kDesync,
                "rank " + from + " called all_to_all_uneven with " + std::to_string(sent) + " x " +
                    dtype_name(args[r].dtype) + " for rank " + to + ", rank " + to + " with " +
                    std::to_string(expected) + " from rank " + from + site_text(site),
                "{\"rank\":" + to + ",\"differs\":\"count\",\"value\":" + std::to_string(expected) +
                    ",\"reference\":" + from + ",\"expected\":" + std::to_string(sent) + "," +
                    site_fields(site, args[r].kind) + "}")};
    }
  }
  return std::nullopt;
}

std::string last_events() {
  const EventSlice slice = event_log::read(0, kAttachedEvents);
  std::string text = "[";
  for (const EventRecord& e : slice.events) {
    char line[320];
    const char* kind = e.kind < std::size(kEventNames) ? kEventNames[e.kind] : "unknown";
    std::snprintf(line, sizeof line,
                  "%s{\"sequence\":%llu,\"kind\":\"%s\",\"device\":%u,\"stream\":%u,\"peer\":%u,"
                  "\"bytes\":%llu,\"id\":%llu,\"detail\":%u,\"host_ns\":%llu,\"extra\":%llu}",
                  text.size() > 1 ? "," : "", static_cast<unsigned long long>(e.sequence), kind,
                  e.device, e.stream, e.peer, static_cast<unsigned long long>(e.bytes),
                  static_cast<unsigned long long>(e.id), e.detail,
                  static_cast<unsigned long long>(e.host_ns),
                  static_cast<unsigned long long>(e.extra));
    text += line;
  }
  return text + "]";
}

}  // namespace

const char* collective_name(CollectiveKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < std::size(kKindNames) ? kKindNames[index] : "unknown";
}

const char* reduce_op_name(ReduceOp op) {
  constexpr const char* names[] = {"sum", "avg", "max", "min", "prod"};
  const auto index = static_cast<size_t>(op);
  return index < std::size(names) ? names[index] : "unknown";
}

std::string part_text(CallSite site) {
  if (site.parts == 0) return "";
  return " as coalesced call " + std::to_string(site.part) + " of " + std::to_string(site.parts);
}

std::optional<Disagreement> find_disagreement(std::span<const CollectiveArgs> args, CallSite site) {
  const int n = static_cast<int>(args.size());
  bool agree = true;
  for (int r = 1; r < n && agree; ++r) agree = difference(args[0], args[r]) == nullptr;
  if (agree && args[0].kind == CollectiveKind::kAllToAllUneven) {
    return find_uneven_blocks(args, site);
  }
  if (agree) return std::nullopt;
  int reference = 0, most = 0;
  for (int r = 0; r < n; ++r) {
    int same = 0;
    for (int q = 0; q < n; ++q) same += difference(args[r], args[q]) == nullptr;
    if (same > most) {
      most = same;
      reference = r;
    }
  }
  int rank = 0;
  while (difference(args[reference], args[rank]) == nullptr) ++rank;
  const CollectiveArgs &odd = args[rank], &usual = args[reference];
  const std::string differs = difference(usual, odd);
  const std::string named = std::to_string(site.name_of(rank));
  const std::string other = std::to_string(site.name_of(reference));
  std::string message = "rank " + named + " called " + collective_name(odd.kind) + " " +
                        aspect(odd, differs) + ", rank " + other + " ";
  if (differs == "kind") message += std::string(collective_name(usual.kind)) + " ";
  message += aspect(usual, differs) + site_text(site);
  std::string fields = "{\"rank\":" + named + ",\"differs\":\"" + differs +
                       "\",\"value\":" + value_of(odd, differs) + ",\"reference\":" + other +
                       ",\"expected\":" + value_of(usual, differs) + "," +
                       site_fields(site, odd.kind) + "}";
  return Disagreement{rank, Error(ErrorCode::kDesync, message, fields)};
}

Error timeout_error(CollectiveKind kind, CallSite site, const std::vector<int>& missing,
                    const std::vector<int>& arrived, int64_t waited_ms, const std::string& more) {
  std::string message = std::string(collective_name(kind)) + site_text(site) + ": " +
                        (missing.size() == 1 ? "rank " : "ranks ") + list_of(missing, ", ", site) +
                        " did not arrive within " + std::to_string(waited_ms) + " ms; " +
                        (arrived.size() == 1 ? "rank " : "ranks ") + list_of(arrived, ", ", site) +
                        (arrived.size() == 1 ? " waited" : " waited together") + more;
  std::string fields = "{\"missing\":[" + list_of(missing, ",", site) + "],\"arrived\":[" +
                       list_of(arrived, ",", site) + "]," + site_fields(site, kind) +
                       ",\"waited_ms\":" + std::to_string(waited_ms) +
                       ",\"events\":" + last_events() + "}";
  return Error(ErrorCode::kCollectiveTimeout, message, fields);
}

Error stall_error(CollectiveKind kind, CallSite site, Stall where, const std::vector<int>& ranks,
                  const std::vector<Device*>& devices, int64_t waited_ms,
                  const std::string& since) {
  std::string named;
  for (int rank : ranks) {
    named += (named.empty() ? "" : ", ") + std::to_string(site.name_of(rank)) + " (" +
             devices[static_cast<size_t>(rank)]->name() + ")";
  }
  const char* place =
      where == Stall::kProducer ? "before the call: its own stream has not come to it"
      : where == Stall::kBefore ? "before the call: its communication stream has not come to it"
                                : "within the call: its copies or sums do not end";
  std::string message =
      std::string(collective_name(kind)) + site_text(site) + ": launched, but not done within " +
      std::to_string(waited_ms) + " ms; " + (ranks.size() == 1 ? "rank " : "ranks ") + named +
      (ranks.size() == 1 ? " is" : " are") + " stalled " + place + ", the other ranks wait for " +
      (ranks.size() == 1 ? "it " : "them ") + since;
  std::string fields = "{\"launched\":true,\"stalled\":[" + list_of(ranks, ",", site) +
                       "],\"missing\":[]," + site_fields(site, kind) +
                       ",\"waited_ms\":" + std::to_string(waited_ms) +
                       ",\"events\":" + last_events() + "}";
  return Error(ErrorCode::kCollectiveTimeout, message, fields);
}

}  // namespace fabric
