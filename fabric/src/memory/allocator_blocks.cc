// Segments, blocks and free lists of the allocator: split, merge, best fit. Everything here runs
// under the allocator's mutex; see memory/allocator_state.h.
#include <functional>
#include <utility>

#include "memory/allocator_state.h"

namespace fabric {

bool Allocator::Impl::BySize::operator()(const Node* a, const Node* b) const {
  if (a->bytes != b->bytes) return a->bytes < b->bytes;
  return std::less<const void*>()(a->ptr, b->ptr);  // low addresses first: fewer holes
}
bool Allocator::Impl::BySize::operator()(const Node* a, size_t bytes) const {
  return a->bytes < bytes;
}
bool Allocator::Impl::BySize::operator()(size_t bytes, const Node* b) const {
  return bytes < b->bytes;
}

Allocator::Impl::Node* Allocator::Impl::new_node() {
  Node* node = nullptr;
  if (spare_nodes.empty()) {
    node = new Node;
  } else {
    node = spare_nodes.back();
    spare_nodes.pop_back();
  }
  node->device = &device;
  return node;
}

void Allocator::Impl::drop_node(Node* node) {
  // `uses` keeps its room and `slot` its list node for the next owner.
  static_cast<Block&>(*node) = Block{};
  node->segment = nullptr;
  node->previous = node->next = nullptr;
  node->state = State::kFree;
  node->tag = 0;
  node->events = 0;
  node->uses.clear();
  spare_nodes.push_back(node);
}

Allocator::Impl::StreamLists& Allocator::Impl::lists(Pool& pool, const Stream& stream) {
  const size_t id = stream.id();
  if (pool.lists.size() <= id) pool.lists.resize(id + 1);
  if (pool.lists[id] == nullptr) pool.lists[id] = std::make_unique<StreamLists>();
  return *pool.lists[id];
}

Allocator::Impl::FreeList& Allocator::Impl::list_of(const Node& node) {
  auto& both = lists(*node.segment->pool, *node.stream);
  return node.segment->small ? both.small : both.large;
}

void Allocator::Impl::insert_free(Node* node) {
  FreeList& list = list_of(*node);
  node->segment->free_bytes += node->bytes;
  if (node->slot.empty()) {
    list.insert(node);
  } else {
    node->slot.value() = node;
    list.insert(std::move(node->slot));
  }
}

void Allocator::Impl::remove_free(Node* node) {
  FreeList& list = list_of(*node);
  node->segment->free_bytes -= node->bytes;
  node->slot = list.extract(list.find(node));
}

// Cuts `node`, which is in no free list, to `bytes`; the rest becomes a free node after it.
void Allocator::Impl::split(Node* node, size_t bytes) {
  Node* rest = new_node();
  rest->ptr = static_cast<char*>(node->ptr) + bytes;
  rest->bytes = node->bytes - bytes;
  rest->stream = node->stream;
  rest->segment = node->segment;
  rest->since_ticks = node->since_ticks;
  rest->previous = node;
  rest->next = node->next;
  if (rest->next != nullptr) rest->next->previous = rest;
  node->next = rest;
  node->bytes = bytes;
  insert_free(rest);
  ++stats.splits;
}

// Live or pending -> free, merged with free neighbours.
void Allocator::Impl::make_free(Node* node) {
  Pool* pool = node->segment->pool;
  --pool->in_use;
  node->state = State::kFree;
  node->requested = 0;
  node->tag = 0;
  node->uses.clear();
  if (Node* before = node->previous; before != nullptr && before->state == State::kFree) {
    remove_free(before);
    before->bytes += node->bytes;
    before->next = node->next;
    if (before->next != nullptr) before->next->previous = before;
    drop_node(node);
    node = before;
    ++stats.merges;
  }
  if (Node* after = node->next; after != nullptr && after->state == State::kFree) {
    remove_free(after);
    node->bytes += after->bytes;
    node->next = after->next;
    if (node->next != nullptr) node->next->previous = node;
    drop_node(after);
    ++stats.merges;
  }
  insert_free(node);
  if (pool->released && pool->in_use == 0) share_pool(*pool);
}

Allocator::Impl::Node* Allocator::Impl::take_cached(Pool& pool, const Stream& stream,
                                                    size_t bytes) {
  const bool small = bytes <= kSmallLimit;
  auto& both = lists(pool, stream);
  FreeList& list = small ? both.small : both.large;
  auto it = list.lower_bound(bytes);
  if (it == list.end()) return nullptr;
  Node* node = *it;
  node->slot = list.extract(it);
  node->segment->free_bytes -= node->bytes;
  const size_t rest = node->bytes - bytes;
  if (small ? rest >= kQuantum : rest > kLargeRemainder) split(node, bytes);
  return node;
}

// A node from a new segment; nullptr when the limit or the driver refuses. `tight`: no larger a
// segment than the request needs.
Allocator::Impl::Node* Allocator::Impl::take_segment(Pool& pool, Stream& stream, size_t bytes,
                                                     bool tight) {
  const bool small = bytes <= kSmallLimit;
  size_t size = (bytes + kSegmentStep - 1) / kSegmentStep * kSegmentStep;
  if (small) {
    size = kSmallSegment;
  } else if (bytes <= kMediumLimit && !tight) {
    size = kMediumSegment;
  }
  if (limit != 0 && stats.reserved_bytes + size > limit) return nullptr;
  void* base = device.driver().alloc(device.ordinal(), size);
  if (base == nullptr) return nullptr;
  auto* segment = new Segment;
  segment->base = static_cast<char*>(base);
  segment->bytes = size;
  segment->stream = &stream;
  segment->pool = &pool;
  segment->small = small;
  segment->position = segments.size();
  segments.push_back(segment);
  Node* node = new_node();
  node->ptr = base;
  node->bytes = size;
  node->stream = &stream;
  node->segment = segment;
  node->since_ticks = ticks();
  segment->first = node;
  ++stats.segments;
  ++stats.segment_allocations;
  stats.reserved_bytes += size;
  if (stats.reserved_bytes > stats.peak_reserved_bytes) {
    stats.peak_reserved_bytes = stats.reserved_bytes;
  }
  const size_t rest = size - bytes;
  if (small ? rest >= kQuantum : rest > kLargeRemainder) split(node, bytes);
  return node;
}

// Takes a segment with one node, in no free list, out of the tables. Its memory is the caller's.
void Allocator::Impl::forget_segment(Segment* segment) {
  segments[segment->position] = segments.back();
  segments[segment->position]->position = segment->position;
  segments.pop_back();
  --stats.segments;
  stats.reserved_bytes -= segment->bytes;
  drop_node(segment->first);
  delete segment;
}

Allocator::Impl::Pool& Allocator::Impl::pool_for(const Stream& stream) {
  const size_t id = stream.id();
  if (id < capturing.size() && capturing[id] != nullptr) return *capturing[id];
  if (capture_pool != nullptr && device.driver().is_capturing(stream.handle())) {
    return *capture_pool;
  }
  return shared;
}

// A released private pool without blocks in use: its segments become the device's.
void Allocator::Impl::share_pool(Pool& pool) {
  for (Segment* segment : segments) {
    if (segment->pool != &pool) continue;
    for (Node* node = segment->first; node != nullptr; node = node->next) remove_free(node);
    segment->pool = &shared;
    for (Node* node = segment->first; node != nullptr; node = node->next) insert_free(node);
  }
  pools.erase(pool.id);
}

}  // namespace fabric
