// See fabric/path_counters.h.
#include "fabric/path_counters.h"

namespace fabric::path_counters {

std::array<Counter, kPaths> g_paths;
std::array<Counter, kAlgorithms> g_algorithms;

const char* name(Path path) {
  constexpr const char* names[] = {
#define WEFT_PATH(enumerator, name) name,
#include "fabric/paths.def"
#undef WEFT_PATH
  };
  return names[static_cast<size_t>(path)];
}

}  // namespace fabric::path_counters
