// The caching allocator's public face and its hot path; see memory/allocator_state.h for the design.
// Called by tensor storage, collectives' scratch and graphs.
#include "fabric/allocator.h"

#include "fabric/error.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"
#include "memory/allocator_state.h"

namespace fabric {
namespace {

thread_local uint32_t t_tag = 0;

constexpr int64_t kReleaseMs = 10'000;
constexpr int64_t kDisposeMs = 2;  // long enough for an idle GPU to say so

}  // namespace

void set_allocation_tag(uint32_t tag) { t_tag = tag; }
uint32_t allocation_tag() { return t_tag; }

Allocator::Allocator(Device& device) : impl_(std::make_unique<Impl>(device)) {}

// Devices live as long as the process; one that does not has synchronised its streams before.
Allocator::~Allocator() {
  auto& state = *impl_;
  for (Impl::Segment* segment : state.segments) {
    for (Impl::Node* node = segment->first; node != nullptr;) {
      Impl::Node* next = node->next;
      delete node;
      node = next;
    }
    state.device.driver().free(state.device.ordinal(), segment->base, segment->bytes);
    delete segment;
  }
  for (Impl::Node* node : state.spare_nodes) delete node;
}

Block* Allocator::allocate(size_t bytes, Stream& stream) {
  check_poison();
  auto& state = *impl_;
  if (&stream.device() != &state.device) {
    fail(ErrorCode::kUsage, "memory of %s cannot belong to a stream of %s",
         state.device.name().c_str(), stream.device().name().c_str());
  }
  std::unique_lock lock(state.mutex);
  ++state.stats.allocations;
  Impl::Node* node = nullptr;
  if (bytes == 0) {
    node = state.new_node();
    node->stream = &stream;
    node->state = Impl::State::kLive;
    ++state.stats.live_blocks;
    return node;
  }
  if (state.pending_count != 0) state.process_events();
  if (bytes > (size_t{1} << 56)) state.fail_out_of_memory(bytes, stream);
  const size_t size = (bytes + kQuantum - 1) / kQuantum * kQuantum;
  Impl::Pool& pool = state.pool_for(stream);
  node = state.take_cached(pool, stream, size);
  if (node != nullptr) {
    ++state.stats.cache_hits;
  } else if (state.ladder.empty()) {
    node = state.take_segment(pool, stream, size, false);
  }
  if (node == nullptr) node = state.reclaim(lock, stream, size);
  if (node == nullptr) state.fail_out_of_memory(bytes, stream);
  node->state = Impl::State::kLive;
  node->requested = bytes;
  node->tag = t_tag;
  node->since_ticks = ticks();
  ++node->segment->pool->in_use;
  auto& stats = state.stats;
  ++stats.live_blocks;
  stats.allocated_bytes += node->bytes;
  stats.requested_bytes += bytes;
  if (stats.allocated_bytes > stats.peak_allocated_bytes) {
    stats.peak_allocated_bytes = stats.allocated_bytes;
  }
  const size_t usable = node->bytes;
  lock.unlock();
  event_log::log(EventKind::kAllocate, state.device.index(), stream.id(), kNoDevice, usable,
                 reinterpret_cast<uint64_t>(node->ptr), t_tag);
  return node;
}

void Allocator::free(Block* block) noexcept {
  if (block == nullptr) return;
  auto& state = *impl_;
  auto* node = static_cast<Impl::Node*>(block);
  uint64_t address = 0, usable = 0;
  uint16_t stream = node->stream->id();
  {
    std::lock_guard lock(state.mutex);
    --state.stats.live_blocks;
    if (node->segment == nullptr) {
      state.drop_node(node);
      return;
    }
    address = reinterpret_cast<uint64_t>(node->ptr);
    usable = node->bytes;
    state.stats.allocated_bytes -= node->bytes;
    state.stats.requested_bytes -= node->requested;
    if (node->uses.empty()) {
      state.make_free(node);
    } else {
      state.hold_back(node);
    }
  }
  event_log::log(EventKind::kFree, state.device.index(), stream, kNoDevice, usable, address);
}

void Allocator::record_use(Block* block, Stream& stream) {
  if (block == nullptr || block->ptr == nullptr || block->stream == &stream) return;
  auto* node = static_cast<Impl::Node*>(block);
  std::lock_guard lock(impl_->mutex);
  for (Stream* used : node->uses) {
    if (used == &stream) return;
  }
  node->uses.push_back(&stream);
}

uint64_t Allocator::release_cached() {
  std::unique_lock lock(impl_->mutex);
  impl_->process_events();
  return impl_->release(lock, impl_->segments, kReleaseMs);
}

void Allocator::set_limit(uint64_t bytes) {
  std::lock_guard lock(impl_->mutex);
  impl_->limit = bytes;
}

void Allocator::process_events() {
  std::lock_guard lock(impl_->mutex);
  impl_->process_events();
}

uint32_t Allocator::create_pool() {
  std::lock_guard lock(impl_->mutex);
  const uint32_t id = impl_->next_pool++;
  auto pool = std::make_unique<Impl::Pool>();
  pool->id = id;
  impl_->pools.emplace(id, std::move(pool));
  return id;
}

void Allocator::begin_pool(uint32_t pool, Stream& stream) {
  std::lock_guard lock(impl_->mutex);
  auto it = impl_->pools.find(pool);
  if (it == impl_->pools.end() || it->second->released) {
    fail(ErrorCode::kUsage, "%s: there is no memory pool %u", impl_->device.name().c_str(), pool);
  }
  auto& capturing = impl_->capturing;
  if (capturing.size() <= stream.id()) capturing.resize(stream.id() + size_t{1}, nullptr);
  if (capturing[stream.id()] != nullptr) {
    fail(ErrorCode::kUsage, "%s: stream %u already allocates from pool %u",
         impl_->device.name().c_str(), static_cast<unsigned>(stream.id()),
         capturing[stream.id()]->id);
  }
  capturing[stream.id()] = it->second.get();
  ++it->second->streams;
  impl_->capture_pool = it->second.get();
}

void Allocator::end_pool(Stream& stream) {
  std::lock_guard lock(impl_->mutex);
  auto& capturing = impl_->capturing;
  if (capturing.size() <= stream.id() || capturing[stream.id()] == nullptr) return;
  Impl::Pool* pool = capturing[stream.id()];
  capturing[stream.id()] = nullptr;
  if (--pool->streams == 0 && impl_->capture_pool == pool) impl_->capture_pool = nullptr;
}

void Allocator::release_pool(uint32_t pool) {
  std::unique_lock lock(impl_->mutex);
  auto it = impl_->pools.find(pool);
  if (it == impl_->pools.end()) return;
  if (it->second->streams != 0) {
    fail(ErrorCode::kUsage, "%s: pool %u is released inside its capture",
         impl_->device.name().c_str(), pool);
  }
  it->second->released = true;
  impl_->process_events();
  it = impl_->pools.find(pool);  // a free that just passed may have shared it
  if (it == impl_->pools.end() || it->second->in_use != 0) return;  // the last free shares it
  std::vector<Impl::Segment*> own;
  for (Impl::Segment* segment : impl_->segments) {
    if (segment->pool == it->second.get()) own.push_back(segment);
  }
  impl_->share_pool(*it->second);
  impl_->release(lock, own, kDisposeMs);
}

}  // namespace fabric
