// The file in which a machine remembers measured GEMM choices of one GPU model: JSON lines under
// $WEFT_CACHE, else under $XDG_CACHE_HOME/weft or ~/.cache/weft. A convenience: what cannot be read
// or written is ignored. book.cc uses it under the measured policy alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gemm/menu.h"

namespace weft {

class GemmChoiceFile {
 public:
  /// An empty path: no place for it.
  explicit GemmChoiceFile(std::string path) : path_(std::move(path)) {}
  static GemmChoiceFile of_model(const std::string& model);

  /// Entries whose kernel is in `menu`; later ones of a key win by coming last.
  std::vector<GemmEntry> read(GemmMenu menu) const;
  /// Adds a line: the file is written anew beside itself and renamed, so that no reader sees half.
  void append(GemmMenu menu, const GemmEntry& entry) const;

 private:
  std::string path_;
};

}  // namespace weft
