// What the allocator tells about itself: statistics, the segment map, and the account that comes
// with an OutOfMemoryError. Read by fabric.stats(), snapshots and people.
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <utility>

#include "fabric/error.h"
#include "fabric/event_log.h"
#include "memory/allocator_state.h"

namespace fabric {

namespace {

constexpr size_t kHolders = 8;

std::string readable(uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
  return text;
}

struct Holder {
  uint16_t stream = 0;
  uint32_t tag = 0;
  uint64_t bytes = 0;
  uint64_t blocks = 0;
};

}  // namespace

AllocatorStats Allocator::stats() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->stats;
}

std::vector<PoolInfo> Allocator::pools() const {
  std::lock_guard lock(impl_->mutex);
  std::map<std::pair<uint32_t, bool>, PoolInfo> pools;  // small ones after large ones
  for (const Impl::Segment* segment : impl_->segments) {
    PoolInfo& pool = pools[{segment->pool->id, segment->small}];
    pool.id = segment->pool->id;
    pool.small = segment->small;
    ++pool.segments;
    pool.reserved_bytes += segment->bytes;
    pool.free_bytes += segment->free_bytes;
  }
  std::vector<PoolInfo> result;
  for (const auto& [key, pool] : pools) result.push_back(pool);
  return result;
}

std::vector<SegmentInfo> Allocator::snapshot() const {
  std::lock_guard lock(impl_->mutex);
  const TickClock::Reading now(impl_->clock);
  std::vector<SegmentInfo> result;
  result.reserve(impl_->segments.size());
  for (const Impl::Segment* segment : impl_->segments) {
    SegmentInfo info;
    info.address = reinterpret_cast<uint64_t>(segment->base);
    info.bytes = segment->bytes;
    info.pool = segment->pool->id;
    for (const Impl::Node* node = segment->first; node != nullptr; node = node->next) {
      info.blocks.push_back({.address = reinterpret_cast<uint64_t>(node->ptr),
                             .bytes = node->bytes,
                             .requested = node->requested,
                             .stream = node->stream->id(),
                             .state = static_cast<uint8_t>(node->state),
                             .tag = node->tag,
                             .age_ns = now.age_ns(node->since_ticks)});
    }
    result.push_back(std::move(info));
  }
  std::sort(result.begin(), result.end(),
            [](const SegmentInfo& a, const SegmentInfo& b) { return a.address < b.address; });
  return result;
}

void Allocator::Impl::fail_out_of_memory(size_t requested, const Stream& stream) {
  ++stats.out_of_memory;
  // Live blocks by who made them: one operator's many blocks count together.
  std::map<std::pair<uint16_t, uint32_t>, Holder> by_owner;
  uint64_t cached = 0;
  for (const Segment* segment : segments) {
    for (const Node* node = segment->first; node != nullptr; node = node->next) {
      if (node->state == State::kFree) cached += node->bytes;
      if (node->state != State::kLive) continue;
      Holder& holder = by_owner[{node->stream->id(), node->tag}];
      holder.stream = node->stream->id();
      holder.tag = node->tag;
      holder.bytes += node->bytes;
      ++holder.blocks;
    }
  }
  std::vector<Holder> holders;
  for (const auto& [owner, holder] : by_owner) holders.push_back(holder);
  std::stable_sort(holders.begin(), holders.end(),
                   [](const Holder& a, const Holder& b) { return a.bytes > b.bytes; });
  if (holders.size() > kHolders) holders.resize(kHolders);

  const uint64_t bound = limit != 0 ? limit : device.properties().total_bytes;
  const uint64_t free = bound > stats.reserved_bytes ? bound - stats.reserved_bytes : 0;
  // Frees that wait for a capture, and whose it is.
  uint64_t captured = 0;
  const Device* captor = nullptr;
  for (const Node* node : deferred) {
    captured += node->bytes;
    for (const Stream* used : node->uses) {
      if (captor == nullptr && used->device().capturing()) captor = &used->device();
    }
  }
  std::string message = device.name() + ": out of memory: " + readable(requested) +
                        " asked for on stream " + std::to_string(stream.id()) + "; " +
                        readable(stats.allocated_bytes) + " in use, " + readable(cached) +
                        " cached, " + readable(stats.pending_bytes) +
                        " waiting for other streams, " + readable(free) + " free of " +
                        readable(bound) + (limit != 0 ? " (limit)" : "");
  if (captured != 0) {
    message += "; " + readable(captured) + " of what waits stays until a capture of " +
               (captor != nullptr ? captor->name() : std::string("another device")) + " ends";
  }
  std::string fields =
      "{\"device\":\"" + device.name() + "\",\"requested\":" + std::to_string(requested) +
      ",\"free\":" + std::to_string(free) + ",\"cached\":" + std::to_string(cached) +
      ",\"allocated\":" + std::to_string(stats.allocated_bytes) +
      ",\"pending\":" + std::to_string(stats.pending_bytes) +
      ",\"captured\":" + std::to_string(captured) + ",\"limit\":" + std::to_string(limit) +
      ",\"holders\":[";
  for (size_t i = 0; i < holders.size(); ++i) {
    const Holder& holder = holders[i];
    message += i == 0 ? "; largest holders: " : ", ";
    message += readable(holder.bytes) + " in " + std::to_string(holder.blocks) +
               (holder.blocks == 1 ? " block" : " blocks") + " (stream " +
               std::to_string(holder.stream) + ", operator " + std::to_string(holder.tag) + ")";
    if (i != 0) fields += ",";
    fields += "{\"bytes\":" + std::to_string(holder.bytes) +
              ",\"stream\":" + std::to_string(holder.stream) +
              ",\"tag\":" + std::to_string(holder.tag) +
              ",\"blocks\":" + std::to_string(holder.blocks) + "}";
  }
  fields += "]}";
  event_log::log(EventKind::kError, device.index(), stream.id(), kNoDevice, requested, 0,
                 static_cast<uint32_t>(ErrorCode::kOutOfMemory));
  throw Error(ErrorCode::kOutOfMemory, std::move(message), std::move(fields));
}

}  // namespace fabric
