// Draws of work that runs twice and must draw the same numbers: noted in order the first time, handed out
// again the second. take_random() asks for this thread's log; autograd/checkpoint.cc keeps one.
#pragma once

#include <vector>

#include "random/generator.h"

namespace weft {

struct DrawLog {
  struct Draw {
    RandomRange range;
    int64_t count;
  };
  std::vector<Draw> draws;
  bool replay = false;
  size_t next = 0;  // of the replay
};

/// Makes `log` this thread's; nullptr: draws come from the generators alone. Returns the one before.
DrawLog* set_draw_log(DrawLog* log);

}  // namespace weft
