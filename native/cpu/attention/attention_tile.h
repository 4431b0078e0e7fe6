// One tile of attention scores, shared by attention.cc and attention_backward.cc: how large it is,
// which keys a query sees, and where a head's rows lie.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/rows/panel.h"
#include "dispatch/kernels.h"

namespace weft::cpu {

inline constexpr int64_t kQueryRows = 64;    // of a tile
inline constexpr int64_t kKeyColumns = 512;  // of a tile in the backward pass

/// Keys that query `row` sees: 0..visible-1.
inline int64_t visible_keys(const AttentionArgs& args, int64_t row) {
  if (!args.causal) return args.kv_len;
  return std::clamp<int64_t>(row + 1 + args.kv_len - args.q_len, 0, args.kv_len);
}

/// Rows first..first+rows-1 of head `index` (batch-major), widened into `scratch` for halves.
template <typename T>
Matrix<T> head_rows(const AttentionArgs& args, const void* base, const int64_t* stride,
                    int64_t index, int64_t first, int64_t rows, T* scratch) {
  const int64_t at =
      index / args.heads * stride[0] + index % args.heads * stride[1] + first * stride[2];
  return read_matrix(args.dtype, base, at, rows, args.width, stride[2], scratch);
}

/// Brings dense rows to their place in a head.
template <typename T>
void store_head_rows(const AttentionArgs& args, void* base, const int64_t* stride, int64_t index,
                     int64_t first, int64_t rows, const T* from) {
  const int64_t at =
      index / args.heads * stride[0] + index % args.heads * stride[1] + first * stride[2];
  for (int64_t r = 0; r < rows; ++r)
    store_panel<T>(args.dtype, base, at + r * stride[2], args.width, from + r * args.width);
}

}  // namespace weft::cpu
