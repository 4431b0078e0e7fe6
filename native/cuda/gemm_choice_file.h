// The file of GEMM choices of one GPU model: JSON lines under $WEFT_CACHE, else under
// $XDG_CACHE_HOME/weft or ~/.cache/weft. A convenience: what cannot be read or written is ignored.
// Used by gemm_choice.cc.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cuda/gemm_choice.h"

namespace weft::cuda {

struct GemmKey {
  int m, n, k, batch;
  uint32_t kind;  // dtype, layout, epilogue
  bool operator==(const GemmKey&) const = default;
};

class GemmChoiceFile {
 public:
  using Entry = std::pair<GemmKey, GemmChoice>;

  explicit GemmChoiceFile(const std::string& model);
  /// Entries whose kernel is in this build's menu; later ones of a key win by coming last.
  std::vector<Entry> read() const;
  /// Adds a line: the file is written anew beside itself and renamed, so that no reader sees half.
  void append(const GemmKey& key, const GemmChoice& choice) const;

 private:
  std::string path_;  // empty: no place for it
};

}  // namespace weft::cuda
