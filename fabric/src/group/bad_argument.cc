// What is wrong with the parts of a call although all ranks agree: a root that is no rank, a buffer
// that is missing, buffers that overlap in part. group/launch.cc asks before it prepares the call.
#include <numeric>
#include <string>

#include "group/desync.h"

namespace fabric {
namespace {

// Do the buffers of a rank of gather, scatter or all-to-all share bytes, other than in place?
bool overlaps_in_part(const CollectiveArgs& args, int ranks) {
  const uint64_t block = args.count * dtype_bytes(args.dtype);
  uint64_t in_bytes = block, out_bytes = block, in_place = 0;  // of the smaller in the larger
  const auto n = static_cast<uint64_t>(ranks);
  const uint64_t own = static_cast<uint64_t>(args.root) * block;
  switch (args.kind) {
    case CollectiveKind::kGather:
      out_bytes *= n;
      in_place = own;
      break;
    case CollectiveKind::kScatter:
      in_bytes *= n;
      in_place = own;
      break;
    case CollectiveKind::kAllToAll:
      in_bytes *= n;
      out_bytes *= n;
      break;
    default:
      return false;
  }
  const auto in = reinterpret_cast<uintptr_t>(args.in);
  const auto out = reinterpret_cast<uintptr_t>(args.out);
  if (in + in_bytes <= out || out + out_bytes <= in) return false;
  return args.kind == CollectiveKind::kScatter ? out != in + in_place : in != out + in_place;
}

std::optional<Error> find_bad_uneven(std::span<const CollectiveArgs> args, CallSite site) {
  for (size_t r = 0; r < args.size(); ++r) {
    const CollectiveArgs& own = args[r];
    auto usage = [&](const std::string& text) {
      return Error(ErrorCode::kUsage, "all_to_all_uneven" + part_text(site) + ": rank " +
                                          std::to_string(site.name_of(static_cast<int>(r))) + " " +
                                          text);
    };
    if (own.send_counts.size() != args.size() || own.receive_counts.size() != args.size()) {
      return usage("gave " + std::to_string(own.send_counts.size()) + " counts to send and " +
                   std::to_string(own.receive_counts.size()) + " to receive for " +
                   std::to_string(args.size()) + " ranks");
    }
    const auto sum = [](const std::vector<uint64_t>& counts) {
      return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
    };
    const uint64_t sent = sum(own.send_counts), received = sum(own.receive_counts);
    if (own.count != sent) return usage("sends " + std::to_string(sent) + " elements, not count");
    if (sent != 0 && own.in == nullptr) return usage("gave no input for " + shape_of(own));
    if (received != 0 && own.out == nullptr) return usage("gave no output");
    const auto in = reinterpret_cast<uintptr_t>(own.in);
    const auto out = reinterpret_cast<uintptr_t>(own.out);
    const uint64_t element = dtype_bytes(own.dtype);
    if (sent != 0 && received != 0 && in < out + received * element && out < in + sent * element) {
      return usage("gave an input and an output that overlap; give two that are apart");
    }
  }
  return std::nullopt;
}

}  // namespace

bool has_root(CollectiveKind kind) {
  return kind == CollectiveKind::kBroadcast || kind == CollectiveKind::kReduce ||
         kind == CollectiveKind::kGather || kind == CollectiveKind::kScatter ||
         kind == CollectiveKind::kSendReceive;
}

std::string shape_of(const CollectiveArgs& args) {
  return std::to_string(args.count) + " x " + dtype_name(args.dtype);
}

std::optional<Error> find_bad_argument(std::span<const CollectiveArgs> args, CallSite site) {
  const CollectiveArgs& first = args[0];
  const int n = static_cast<int>(args.size());
  auto usage = [&](const std::string& text) {
    return Error(ErrorCode::kUsage,
                 std::string(collective_name(first.kind)) + part_text(site) + ": " + text);
  };
  if (has_root(first.kind) && (first.root < 0 || first.root >= n)) {
    return usage("root " + std::to_string(first.root) + " is not a rank of a group of " +
                 std::to_string(n));
  }
  if (first.kind == CollectiveKind::kCoalesced) return std::nullopt;  // its calls, one by one
  if (first.kind == CollectiveKind::kReplay && !first.graph) return usage("no graph was given");
  if (first.kind == CollectiveKind::kSendReceive && n != 2) {
    return usage("two ranks send and receive, the group has " + std::to_string(n) + ": use pair()");
  }
  if (first.kind == CollectiveKind::kAllToAllUneven) return find_bad_uneven(args, site);
  if (!carries_data(first.kind) || first.count == 0) return std::nullopt;
  for (int r = 0; r < n; ++r) {
    const bool to_other = first.kind == CollectiveKind::kSendReceive;
    const bool sends_alone = to_other || first.kind == CollectiveKind::kBroadcast ||
                             first.kind == CollectiveKind::kScatter;
    const bool gets_alone =
        first.kind == CollectiveKind::kReduce || first.kind == CollectiveKind::kGather;
    const bool reads = !sends_alone || r == first.root;
    const bool writes = to_other ? r != first.root : !gets_alone || r == first.root;
    if ((reads && args[r].in == nullptr) || (writes && args[r].out == nullptr)) {
      return usage("rank " + std::to_string(site.name_of(r)) + " gave no " +
                   (reads && args[r].in == nullptr ? "input" : "output") + " for " +
                   shape_of(first));
    }
    if (reads && writes && overlaps_in_part(args[r], n)) {
      return usage("the input and the output of rank " + std::to_string(r) +
                   " overlap in part; give the same buffer, its block of the larger one, or two "
                   "that are apart");
    }
  }
  return std::nullopt;
}

}  // namespace fabric
