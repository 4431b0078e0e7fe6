// Which algorithm a call gets: lines by kind, size, ranks, dtype, driver and group. Pure data; the
// registry owns one and guards it.
#pragma once

#include <string>
#include <vector>

#include "fabric/algorithm.h"

namespace fabric {

class ChoiceTable {
 public:
  void set_measured(std::vector<Choice> lines) { measured_ = std::move(lines); }
  void add(std::vector<Choice> lines);
  void drop(const std::string& name);  ///< lines that add() brought for it

  /// Calls try(name) for each line that fits, in order, until one returns true.
  template <typename Try>
  bool walk(const CallShape& shape, Try&& attempt) const {
    for (const std::vector<Choice>* lines : {&measured_, &added_, &built_in()}) {
      for (const Choice& line : *lines) {
        if (fits(line, shape) && attempt(line.name)) return true;
      }
    }
    return false;
  }

 private:
  static bool fits(const Choice& line, const CallShape& shape);
  static const std::vector<Choice>& built_in();

  std::vector<Choice> measured_, added_;
};

}  // namespace fabric
