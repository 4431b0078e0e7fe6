// Device times of one GPU for the event log: timing events put on streams, their times read once
// they have passed. The cuda driver has one a GPU and calls it in log mode timing only.
//
// Design. stamp() records a pooled timing event on the stream and puts it, with the log record's
// handle, in the stream's FIFO; collect() takes those that have passed off the front, turns their
// time into the host's steady clock and writes it to the record. CUDA tells times only as float
// milliseconds between two events, so there is an anchor: an event whose host time is known.
//  - The anchor's host time: an event is recorded on an idle stream of the clock's own, and it
//    happened between the record and the query that finds it passed; the middle is taken. start()
//    and collect() poll for it, at most kStartNs and kAgainNs, with no lock held; stamp() records a
//    candidate and looks at it in the next stamp(), which is soon where work is enqueued steadily.
//    A GPU that does not answer soon keeps its old anchor. Host and GPU clocks drift apart by
//    some us a second, so the anchor is renewed when it is kAnchorNs old.
//  - A float millisecond count is exact to 60 ns up to half a second and to 1 µs up to 8 s: a stamp
//    later than kHopNs after the anchor becomes the anchor itself.
//  - Two truths mend what is left of the error: a stamp is not earlier than its record's host time
//    (the log sees to it) nor than the stamp before it on the same stream.
//  - Each stamp() first takes at most two passed stamps off its stream's FIFO, so that FIFO and
//    pool stay short in steady flow. Beyond kMostWaiting the record keeps no device time.
//  - Who locks: mutex_ guards everything; it is held for a few calls to the runtime that only
//    enqueue or ask, never while polling, and collect() gives it up every kBatch stamps. anchoring_
//    is held by the one thread that polls; mutex_ is taken inside it, never the other way round.
//  - Captures: a stream that is being captured gets no event, which would become a part of the
//    graph. Queries are not allowed on a thread that captures, hence RelaxedCapture around them.
//  - What breaks it: nothing is written for records whose events fail; a lost context makes every
//    call fail, and the stamps are dropped.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fabric/event_log.h"

namespace fabric::cuda {

class DeviceClock {
 public:
  /// Makes the anchor of GPU `ordinal`, or a new one. At most some ms.
  void start(int ordinal);
  void stamp(int ordinal, cudaStream_t stream, RecordHandle record, uint64_t host_ns);
  /// Writes the times of all stamps that have passed.
  void collect();

 private:
  struct Stamp {
    cudaEvent_t event;
    RecordHandle record;
    uint64_t host_ns;
  };
  struct Line {
    std::deque<Stamp> waiting;  // oldest first
    uint64_t last_ns = 0;
  };

  bool try_anchor(uint64_t deadline_ns, uint64_t* gap_ns);  // under anchoring_
  void poll_anchor(uint64_t limit_ns, uint64_t best_ns);    // under anchoring_
  // The rest under mutex_.
  cudaEvent_t take_event();
  void adopt_anchor(cudaEvent_t event, uint64_t begin_ns, uint64_t end_ns);
  void renew_anchor();
  int take_passed(Line& line, int most);
  void write(Line& line, const Stamp& stamp);

  std::mutex anchoring_;
  std::mutex mutex_;
  int ordinal_ = -1;  // -1 before the first start()
  cudaStream_t stream_ = nullptr;
  cudaEvent_t anchor_ = nullptr;  // nullptr: no time is known
  uint64_t anchor_ns_ = 0;
  cudaEvent_t candidate_ = nullptr;  // recorded by renew_anchor() at candidate_ns_
  uint64_t candidate_ns_ = 0;
  std::unordered_map<cudaStream_t, Line> lines_;
  std::vector<cudaEvent_t> free_;
  // Read without the lock: collect() looks whether there is anything to do.
  std::atomic<bool> started_{false};
  std::atomic<size_t> waiting_{0};          // stamps in lines_
  std::atomic<uint64_t> renewed_at_ns_{0};  // when the anchor was last asked for
};

}  // namespace fabric::cuda
