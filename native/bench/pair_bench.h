// How fast bytes go from one device to another: by copy engine, by a kernel's stores, by its bulk
// copies (TMA), for numbers of CTAs and sizes, one way and both at once; and how long a flag takes.
// The binding's pairBench… own one; `weft bench p2p` shows it.
//
// Both devices are driven by this thread. One way runs on the sender's compute stream, both ways on
// both; a figure is the host's time from the first launch until all is done, over the launches. Every
// way is checked at every size before it is timed.
#pragma once

#include <string>
#include <vector>

#include "bench/pattern.h"
#include "fabric/allocator.h"

namespace weft::bench {

enum class PairWay { kCopy, kKernelCopy, kStores, kTma };
const char* pair_way_name(PairWay way);

struct PairFigure {
  std::string way;
  int ctas = 0;  ///< 0: the way has no such number
  std::vector<double> one_us, both_us;
  uint64_t wrong = 0;  ///< elements of four bytes, at both receivers
  std::string error;
};

class PairBench {
 public:
  /// Throws PeerAccessError when the devices do not reach each other's memory.
  PairBench(Device& from, Device& to, uint64_t max_bytes);
  ~PairBench();
  PairBench(const PairBench&) = delete;
  PairBench& operator=(const PairBench&) = delete;

  /// Every way of this driver; those of kernels for each of `ctas`. `bytes` is a multiple of 16.
  std::vector<PairFigure> measure(uint64_t bytes, const std::vector<int>& ctas, int rounds,
                                  int calls);
  /// Nanoseconds that an 8-byte flag takes one way, over `rounds` round trips; 0 on devices without
  /// kernels. Throws DeviceError when an end does not answer.
  double flag_ns(int rounds);

 private:
  struct End {
    Device* device;
    void* out;      // what it sends
    void* in;       // what it receives
    void* control;  // its flag, and behind it a PingResult
  };

  void push(PairWay way, int ctas, const End& from, const End& to, uint64_t bytes);
  void run(PairFigure& figure, PairWay way, uint64_t bytes, int rounds, int calls);
  void drain_both();

  uint64_t max_bytes_;
  SumPattern pattern_;  // of one rank: what is sent must arrive
  End ends_[2]{};
  std::vector<fabric::Block*> blocks_;
};

}  // namespace weft::bench
