// Frees that wait for other streams, cached segments that go back to the driver, and the ladder
// that an allocation climbs when the driver or the limit refuses. See memory/allocator_state.h.
//
// Waiting for device work happens without the mutex: nodes that leave are taken out of the free
// lists first and marked pending, so nobody else hands them out meanwhile. Every wait has a limit.
#include <algorithm>
#include <chrono>
#include <exception>

#include "fabric/event_log.h"
#include "memory/allocator_state.h"

namespace fabric {

namespace {

constexpr int64_t kLadderMs = 10'000;  // for each step that waits

int64_t left_ms(uint64_t begin_ns, int64_t timeout_ms) {
  const auto spent = static_cast<int64_t>((event_log::now_ns() - begin_ns) / 1'000'000);
  return std::max<int64_t>(0, timeout_ms - spent);
}

}  // namespace

void Allocator::Impl::hold_back(Node* node) {
  node->state = State::kPending;
  stats.pending_bytes += node->bytes;
  ++pending_count;
  if (!queue_events(node)) deferred.push_back(node);
}

// One event on each stream that used `node`. False: a capture would have swallowed one of them.
bool Allocator::Impl::queue_events(Node* node) {
  std::vector<std::shared_ptr<Event>> events;
  for (Stream* stream : node->uses) {
    auto event = std::make_shared<Event>(stream->device());
    try {
      if (!event->record_eager(*stream)) return false;
    } catch (const std::exception&) {
      // The stream takes no more work (shut down, poisoned). The node stays pending for good:
      // memory that may still be in use is not handed out.
      event.reset();
    }
    events.push_back(std::move(event));
  }
  node->events = static_cast<int>(node->uses.size());
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i] != nullptr) pending[node->uses[i]].push_back({std::move(events[i]), node});
  }
  return true;
}

void Allocator::Impl::finish_deferred() {
  deferred_at = captures_ended();
  std::erase_if(deferred, [&](Node* node) { return queue_events(node); });
}

void Allocator::Impl::process_events() {
  if (!deferred.empty() && captures_ended() != deferred_at) finish_deferred();
  for (auto& [stream, queue] : pending) {
    while (!queue.empty()) {
      bool passed = false;
      try {
        passed = queue.front().event->query();
      } catch (const std::exception&) {
        // As in hold_back(): kept for good.
      }
      if (!passed) break;
      Node* node = queue.front().node;
      queue.pop_front();
      if (--node->events != 0) continue;
      stats.pending_bytes -= node->bytes;
      --pending_count;
      make_free(node);
    }
  }
}

// Waits until all frees that were pending at the call have passed. False: there were none.
bool Allocator::Impl::wait_pending(std::unique_lock<std::mutex>& lock, int64_t timeout_ms) {
  std::vector<std::shared_ptr<Event>> events;
  for (auto& [stream, queue] : pending) {
    if (!queue.empty()) events.push_back(queue.back().event);
  }
  if (events.empty()) return wait_captures(lock, timeout_ms);
  const uint64_t begin = event_log::now_ns();
  lock.unlock();
  for (const auto& event : events) {
    try {
      event->synchronize(left_ms(begin, timeout_ms));
    } catch (const std::exception&) {
      // As in hold_back(): kept for good.
    }
  }
  lock.lock();
  process_events();
  return true;
}

// Waits until a capture ends that holds frees back. False: none does, the limit passed, or nobody
// else can end it.
bool Allocator::Impl::wait_captures(std::unique_lock<std::mutex>& lock, int64_t timeout_ms) {
  if (deferred.empty() || device.capturing()) return false;
  for (const Node* node : deferred) {
    for (const Stream* stream : node->uses) {
      if (stream->device().captures().begun_here()) return false;
    }
  }
  const uint64_t seen = deferred_at;
  lock.unlock();
  const bool ended = wait_capture_end(seen, timeout_ms);
  lock.lock();
  process_events();
  return ended;
}

// Gives those of the `offered` segments that are one free node back to the driver. A free node may
// still be in use by work on its own stream, so that work is awaited first; segments whose stream is
// not done in time stay, and so do all while the device is captured.
uint64_t Allocator::Impl::release(std::unique_lock<std::mutex>& lock,
                                  const std::vector<Segment*>& offered, int64_t timeout_ms) {
  if (device.capturing()) return 0;
  struct Leaving {
    Stream* stream;
    std::vector<Segment*> segments;
    bool done = false;
  };
  std::vector<Leaving> leaving;
  for (Segment* segment : offered) {
    Node* node = segment->first;
    const size_t id = segment->stream->id();
    const bool captured = id < capturing.size() && capturing[id] != nullptr;
    if (segment->pool != &shared || node->state != State::kFree || node->next != nullptr ||
        captured) {
      continue;
    }
    remove_free(node);
    node->state = State::kPending;
    ++shared.in_use;  // make_free() counts it out again if it stays
    auto same = std::find_if(leaving.begin(), leaving.end(),
                             [&](const Leaving& l) { return l.stream == segment->stream; });
    if (same == leaving.end())
      same = leaving.insert(leaving.end(), Leaving{.stream = segment->stream, .segments = {}});
    same->segments.push_back(segment);
  }
  if (leaving.empty()) return 0;
  ++releasing;
  const uint64_t begin = event_log::now_ns();
  lock.unlock();
  for (Leaving& group : leaving) {
    try {
      Event event(device);
      group.done =
          event.record_eager(*group.stream) && event.synchronize(left_ms(begin, timeout_ms));
    } catch (const std::exception&) {
      group.done = false;
    }
  }
  lock.lock();
  uint64_t released = 0;
  for (Leaving& group : leaving) {
    for (Segment* segment : group.segments) {
      if (!group.done) {
        make_free(segment->first);
        continue;
      }
      --shared.in_use;
      released += segment->bytes;
      device.driver().free(device.ordinal(), segment->base, segment->bytes);
      forget_segment(segment);
    }
  }
  --releasing;
  ladder_changed.notify_all();
  return released;
}

// The ladder. nullptr: nothing more can be done. One thread climbs at a time, in order of arrival,
// and while somebody climbs nobody else takes a segment: what was reclaimed for one is not taken by
// another. The last steps repeat as long as memory is still coming back, up to the limit.
Allocator::Impl::Node* Allocator::Impl::reclaim(std::unique_lock<std::mutex>& lock, Stream& stream,
                                                size_t bytes) {
  ++stats.retries;
  const uint64_t begin = event_log::now_ns();
  const uint64_t turn = next_turn++;
  ladder.push_back(turn);
  while (ladder.front() != turn) {
    const int64_t left = left_ms(begin, kLadderMs);
    if (left == 0) break;
    ladder_changed.wait_for(lock, std::chrono::milliseconds(left));
  }
  struct Leave {  // also when the driver throws: nobody may stand on the ladder for ever
    Impl& state;
    uint64_t turn;
    ~Leave() {
      state.ladder.erase(std::find(state.ladder.begin(), state.ladder.end(), turn));
      state.ladder_changed.notify_all();
    }
  } leave{*this, turn};
  return climb(lock, stream, bytes);
}

Allocator::Impl::Node* Allocator::Impl::climb(std::unique_lock<std::mutex>& lock, Stream& stream,
                                              size_t bytes) {
  const uint64_t begin = event_log::now_ns();
  auto attempt = [&](bool tight) {
    Pool& pool = pool_for(stream);
    Node* node = take_cached(pool, stream, bytes);
    return node != nullptr ? node : take_segment(pool, stream, bytes, tight);
  };
  process_events();
  if (Node* node = attempt(false)) return node;
  release(lock, segments, kLadderMs);
  for (;;) {
    if (Node* node = attempt(true)) return node;
    const int64_t left = left_ms(begin, kLadderMs);
    if (left == 0) return nullptr;
    bool more = wait_pending(lock, left);
    more = release(lock, segments, left) != 0 || more;
    if (!more && releasing != 0) {  // release_cached() is about to give segments back
      ladder_changed.wait_for(lock, std::chrono::milliseconds(left));
      more = true;
    }
    if (!more) return attempt(true);
  }
}

}  // namespace fabric
