// The sequence numbers of the records that lie in the threads' rings. log/event_log.cc owns the one
// of the process and holds its mutex while it asks.
//
// A collection takes what each ring has since the last one and gives all of it the next numbers at
// once; which record has which is settled from the newest backwards, only as far as somebody asks.
//  - What goes into a collection: the records below each ring's head, looked at one ring after the
//    other; then, of those that came meanwhile, the ones older than the end of that look. So with a
//    record every record is in that it followed from, on any thread (its time is not later).
//  - A collection's records are merged by their host times. Within a ring these ascend. Records that
//    were overwritten before they were settled have no time any more: they take the lowest numbers.
//  - What is settled stays. It lies in a table of the newest kRingRecords sequences; what is older is
//    forgotten, settled or not.
//  - Memory: a collection with fewer than kSmall records left is settled whole, so that at most
//    kRingRecords / kSmall of them wait, each with one range a ring.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "log/record_ring.h"

namespace fabric::event_log {

class RecordOrder {
 public:
  std::mutex mutex;  // held for every call

  /// Numbers what has come since. Returns the next sequence.
  uint64_t collect();
  /// Sequences below it are forgotten.
  uint64_t oldest() const { return next_ > kRingRecords ? next_ - kRingRecords : 1; }
  /// Settles the sequences from `begin` >= oldest() on.
  void settle(uint64_t begin);
  /// The record `sequence`, which is settled; false: it was overwritten.
  bool load(uint64_t sequence, EventRecord& into) const;

 private:
  static constexpr uint64_t kSmall = 512;
  static constexpr uint64_t kAhead = 8;  // records of a ring
  static constexpr RecordHandle kLost = ~RecordHandle{0};

  struct Range {  // tickets [from, to) of a ring; `newest` is the time of the last
    uint64_t newest;
    const Ring* ring;
    uint64_t from, to;
  };
  struct Collection {  // sequences [begin, end), the unsettled ones
    Collection(uint64_t first, uint64_t last) : begin(first), end(last) {}
    uint64_t begin, end;
    std::vector<Range> ranges;  // a heap: the newest at the front; fewer records than sequences
  };

  static void add_range(const Ring& ring, uint64_t from, uint64_t to, std::vector<Range>& ranges);
  static void sift_down(std::vector<Range>& heap, size_t at);
  void settle_newest(Collection& collection);
  void settle_run(Collection& collection, uint64_t begin);

  uint64_t next_ = 1;
  std::deque<Collection> waiting_;  // ascending
  std::vector<uint64_t> heads_;     // of the rings, in collect()
  std::unique_ptr<RecordHandle[]> handles_{new RecordHandle[kRingRecords]};  // of settled sequences
};

}  // namespace fabric::event_log
