// See log/record_order.h.
#include "log/record_order.h"

#include <algorithm>

#include "log/event_clock.h"

namespace fabric::event_log {

uint64_t RecordOrder::collect() {
  const uint64_t rings = ring_count();
  heads_.resize(rings);
  for (uint64_t i = 0; i < rings; ++i) {
    heads_[i] = ring_at(i).head.load(std::memory_order_acquire);
  }
  const uint64_t looked_ns = event_clock().now();
  const uint64_t rings_now = ring_count();
  heads_.resize(rings_now, 0);

  while (!waiting_.empty() && waiting_.front().end <= oldest()) waiting_.pop_front();
  Collection& collection = waiting_.emplace_back(next_, next_);
  collection.ranges.reserve(rings_now);  // what follows takes no memory, so that it ends whole
  collection.end += take_unkept();
  for (uint64_t i = 0; i < rings_now; ++i) {
    Ring& ring = ring_at(i);
    const uint64_t head = ring.head.load(std::memory_order_acquire);
    uint64_t to = heads_[i];
    for (uint64_t ns = 0; to < head && ring.load_time(to, ns) && ns <= looked_ns;) ++to;
    if (to == ring.collected) continue;
    add_range(ring, ring.collected, to, collection.ranges);
    collection.end += to - ring.collected;
    ring.collected = to;
  }
  next_ = collection.end;
  for (size_t i = collection.ranges.size() / 2; i-- > 0;) sift_down(collection.ranges, i);
  if (collection.end - collection.begin < kSmall) {
    settle_run(collection, collection.begin);
    waiting_.pop_back();
  }
  return next_;
}

// Nothing is added when the newest record, and so each of them, was overwritten.
void RecordOrder::add_range(const Ring& ring, uint64_t from, uint64_t to,
                            std::vector<Range>& ranges) {
  uint64_t newest = 0;
  if (!ring.load_time(to - 1, newest)) return;
  if (to - from > kRingRecords) from = to - kRingRecords;  // the ones before are overwritten
  ranges.push_back({newest, &ring, from, to});
}

void RecordOrder::sift_down(std::vector<Range>& heap, size_t at) {
  const Range moving = heap[at];
  for (size_t child = 2 * at + 1; child < heap.size(); child = 2 * at + 1) {
    if (child + 1 < heap.size() && heap[child + 1].newest > heap[child].newest) ++child;
    if (heap[child].newest <= moving.newest) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moving;
}

void RecordOrder::settle(uint64_t begin) {
  // Collections ascend, and each is settled from its end: the first that is whole ends the search.
  size_t i = waiting_.size();
  while (i > 0 && waiting_[i - 1].end > begin) --i;
  for (size_t at = i; at < waiting_.size(); ++at) settle_run(waiting_[at], begin);
  waiting_.erase(std::remove_if(waiting_.begin() + static_cast<std::ptrdiff_t>(i), waiting_.end(),
                                [](const Collection& c) { return c.begin == c.end; }),
                 waiting_.end());
}

void RecordOrder::settle_run(Collection& collection, uint64_t begin) {
  if (begin < collection.begin + kSmall) begin = collection.begin;
  begin = std::max(begin, std::min(oldest(), collection.end));
  while (collection.end > begin && collection.ranges.size() > 1) settle_newest(collection);
  if (collection.ranges.size() == 1) {  // nothing to compare with
    Range& only = collection.ranges.front();
    while (collection.end > begin && only.to > only.from) {
      --only.to;
      --collection.end;
      handles_[collection.end % kRingRecords] = make_handle(only.ring->index, only.to);
    }
    if (only.to == only.from) collection.ranges.clear();
  }
  for (; collection.end > begin; --collection.end) {
    handles_[(collection.end - 1) % kRingRecords] = kLost;
  }
  if (begin == oldest()) collection.begin = collection.end;  // the rest is forgotten
}

void RecordOrder::settle_newest(Collection& collection) {
  std::vector<Range>& heap = collection.ranges;
  Range& range = heap.front();
  --range.to;
  --collection.end;
  handles_[collection.end % kRingRecords] = make_handle(range.ring->index, range.to);
  __builtin_prefetch(&range.ring->slot(range.to - kAhead));  // lines that another core wrote
  // A record that was overwritten: so were all before it.
  if (range.to == range.from || !range.ring->load_time(range.to - 1, range.newest)) {
    range = heap.back();
    heap.pop_back();
    if (heap.empty()) return;
  }
  sift_down(heap, 0);
}

bool RecordOrder::load(uint64_t sequence, EventRecord& into) const {
  const RecordHandle handle = handles_[sequence % kRingRecords];
  if (handle == kLost || !ring_at(ring_of(handle)).load(ticket_of(handle), into)) return false;
  into.sequence = sequence;
  return true;
}

}  // namespace fabric::event_log
