// Shapes, strides and dimension lists: up to kMaxDims integers without heap memory.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

namespace weft {

inline constexpr int kMaxDims = 8;

struct Dims {
  int n = 0;
  int64_t v[kMaxDims] = {};

  Dims() = default;
  Dims(std::initializer_list<int64_t> list) {
    for (int64_t x : list) push(x);
  }
  int size() const { return n; }
  bool empty() const { return n == 0; }
  int64_t& operator[](int i) { return v[i]; }
  int64_t operator[](int i) const { return v[i]; }
  const int64_t* begin() const { return v; }
  const int64_t* end() const { return v + n; }
  int64_t back() const { return v[n - 1]; }
  void push(int64_t x);            ///< throws ShapeError past kMaxDims
  void insert(int at, int64_t x);  ///< throws ShapeError past kMaxDims
  void erase(int at);
  bool operator==(const Dims& o) const {
    if (n != o.n) return false;
    for (int i = 0; i < n; ++i)
      if (v[i] != o.v[i]) return false;
    return true;
  }
};

/// "(2, 3)" as in error messages.
std::string to_string(const Dims& dims);
/// Product of the sizes; throws ShapeError when it does not fit in 2^53 (what JavaScript can
/// count).
int64_t element_count(const Dims& shape);
Dims contiguous_strides(const Dims& shape);
/// The shape both broadcast to; throws ShapeError naming `op` and both shapes.
Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op);
bool broadcastable_to(const Dims& from, const Dims& to);
/// `dim` in 0..rank-1 after counting negatives from the end; throws ShapeError naming `op`.
int normalize_dim(int64_t dim, int rank, const char* op);

}  // namespace weft
