// The allocator's tables: segments, blocks, free lists, pools. Shared by the allocator_*.cc files
// alone.
//
// Design. One mutex a device guards everything here. A segment is memory from the driver, cut into
// nodes that lie side by side; free neighbours are merged at once. A free node is in exactly one
// free list, that of its pool, stream and size class, ordered by (size, address); node handles are
// kept, so the hot path allocates nothing.
//  - free -> live: allocate().  live -> free: free() without foreign streams.
//  - live -> pending: free() of a node that other streams used. One event is recorded on each of
//    them and queued in that stream's FIFO; the last to pass makes the node free.
//  - While a device is captured, nodes that its streams used are only put aside (`deferred`): an
//    event recorded on a captured stream would belong to the graph and never pass. The first call
//    after the end of a capture queues them. Whether an event escaped a capture that begins at that
//    moment is told by Event::record_eager(), so no lock spans devices.
//  - A capture's own four streams and its main stream allocate from its pool by begin_pool(); a
//    stream that joins it later does so because the driver says that it is being captured.
//  - What breaks it: free() of a block whose use on another stream nobody recorded.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "fabric/allocator.h"
#include "memory/tick_clock.h"

namespace fabric {

inline constexpr size_t kQuantum = 512;
inline constexpr size_t kMiB = size_t{1} << 20;
inline constexpr size_t kSmallLimit = kMiB;  // requests up to here: small pool
inline constexpr size_t kSmallSegment = 2 * kMiB;
inline constexpr size_t kMediumLimit = 10 * kMiB;  // requests up to here share a segment
inline constexpr size_t kMediumSegment = 20 * kMiB;
inline constexpr size_t kSegmentStep = 2 * kMiB;  // larger ones are rounded up to this
inline constexpr size_t kLargeRemainder = kMiB;   // a large block is split when more is left

struct Allocator::Impl {
  enum class State : uint8_t { kFree = 0, kLive = 1, kPending = 2 };
  struct Node;
  struct Segment;
  struct BySize {
    using is_transparent = void;
    bool operator()(const Node* a, const Node* b) const;
    bool operator()(const Node* a, size_t bytes) const;
    bool operator()(size_t bytes, const Node* b) const;
  };
  using FreeList = std::set<Node*, BySize>;
  struct StreamLists {
    FreeList small;
    FreeList large;
  };
  struct Pool {
    uint32_t id = 0;
    int streams = 0;                                  // captures that allocate from it now
    uint64_t in_use = 0;                              // live and pending nodes
    bool released = false;                            // release_pool() came while nodes were in use
    std::vector<std::unique_ptr<StreamLists>> lists;  // by stream id
  };
  struct Node : Block {
    Segment* segment = nullptr;  // nullptr: an empty block
    Node* previous = nullptr;    // neighbours in the segment
    Node* next = nullptr;
    State state = State::kFree;
    uint32_t tag = 0;
    uint64_t since_ticks = 0;
    int events = 0;             // of a pending node, still to pass
    std::vector<Stream*> uses;  // other streams
    FreeList::node_type slot;   // list node kept while not in a free list
  };
  struct Segment {
    char* base = nullptr;
    size_t bytes = 0;
    Stream* stream = nullptr;
    Pool* pool = nullptr;
    bool small = false;
    Node* first = nullptr;
    size_t free_bytes = 0;  // of its nodes in free lists
    size_t position = 0;    // in segments
  };
  struct Pending {
    std::shared_ptr<Event> event;
    Node* node;
  };

  explicit Impl(Device& d) : device(d) {}

  // memory/allocator_blocks.cc: all under `mutex`
  Node* new_node();
  void drop_node(Node* node);
  StreamLists& lists(Pool& pool, const Stream& stream);
  FreeList& list_of(const Node& node);
  void insert_free(Node* node);
  void remove_free(Node* node);
  void split(Node* node, size_t bytes);
  void make_free(Node* node);
  Node* take_cached(Pool& pool, const Stream& stream, size_t bytes);
  Node* take_segment(Pool& pool, Stream& stream, size_t bytes, bool tight);
  void forget_segment(Segment* segment);
  Pool& pool_for(const Stream& stream);
  void share_pool(Pool& pool);

  // memory/allocator_reclaim.cc
  void hold_back(Node* node);
  bool queue_events(Node* node);
  void process_events();
  void finish_deferred();
  bool wait_pending(std::unique_lock<std::mutex>& lock, int64_t timeout_ms);
  bool wait_captures(std::unique_lock<std::mutex>& lock, int64_t timeout_ms);
  uint64_t release(std::unique_lock<std::mutex>& lock, const std::vector<Segment*>& offered,
                   int64_t timeout_ms);
  Node* reclaim(std::unique_lock<std::mutex>& lock, Stream& stream, size_t bytes);
  Node* climb(std::unique_lock<std::mutex>& lock, Stream& stream, size_t bytes);

  // memory/allocator_report.cc
  [[noreturn]] void fail_out_of_memory(size_t requested, const Stream& stream);

  Device& device;
  const TickClock clock;
  mutable std::mutex mutex;
  AllocatorStats stats;
  uint64_t limit = 0;
  std::vector<Segment*> segments;
  std::vector<Node*> spare_nodes;
  Pool shared;
  std::map<uint32_t, std::unique_ptr<Pool>> pools;
  uint32_t next_pool = 1;
  std::vector<Pool*> capturing;  // by stream id: pool of the capture on it
  Pool* capture_pool = nullptr;  // of the capture that goes on, for streams that join it
  std::map<Stream*, std::deque<Pending>> pending;
  size_t pending_count = 0;
  std::vector<Node*> deferred;
  uint64_t deferred_at = 0;     // captures_ended() when `deferred` was last looked at
  int releasing = 0;            // threads in release(), whose segments still count as reserved
  std::deque<uint64_t> ladder;  // turns of the threads in reclaim(); the first one climbs
  uint64_t next_turn = 0;
  std::condition_variable ladder_changed;
};

}  // namespace fabric
