// The walk behind elementwise_loop.h: how operands of any layout reach a TileFn.
#include "cpu/elementwise/elementwise_loop.h"

#include <algorithm>
#include <limits>

#include "cpu/elementwise/odometer.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

constexpr int64_t kTile = 1024;  // four blocks of eight-byte lanes are 32 KiB
// Rows at least this long are taken one by one, so that operands dense along the row need no copy.
constexpr int64_t kLongRow = 256;

/// How one operand is reached.
struct Access {
  char* data = nullptr;
  int64_t bytes = 0;    // of an element
  int64_t stride = 0;   // of dimension 0
  bool linear = false;  // element i lies at data + i * bytes
  bool dense_row = false;
  bool same_type = false;  // dtype is the lane's: usable in place
  bool constant = false;   // one value for all
  Odometer at;
};

Access access_of(const Elementwise& work, int index, int64_t begin) {
  const TensorIterator& it = work.it;
  const IterOperand& o = it.operand[index];
  Access a;
  a.data = o.data;
  a.bytes = static_cast<int64_t>(dtype_bytes(o.dtype));
  a.stride = it.ndim > 0 ? o.strides[0] : a.bytes;
  a.same_type = o.dtype == lane_dtype(work.lane);
  a.dense_row = a.stride == a.bytes;
  a.linear = a.constant = true;
  int64_t dense = a.bytes;
  for (int d = 0; d < it.ndim; ++d) {
    a.linear = a.linear && o.strides[d] == dense;
    a.constant = a.constant && o.strides[d] == 0;
    dense *= it.shape[d];
  }
  a.linear = a.linear || it.contiguous;
  a.constant = a.constant && index > 0 && it.ndim > 0;
  if (!a.linear) a.at = Odometer(it.ndim, it.shape, o.strides, o.data, begin);
  return a;
}

void load_tile(Access& a, LoadFn load, int64_t lane_size, char* block, int64_t position,
               int64_t n) {
  if (a.linear) return load(block, a.data + position * a.bytes, a.bytes, n);
  while (n > 0) {
    int64_t piece = std::min(n, a.at.row_left());
    load(block, a.at.ptr(), a.stride, piece);
    a.at.advance(piece);
    block += piece * lane_size;
    n -= piece;
  }
}

void store_tile(Access& a, StoreFn store, int64_t lane_size, const char* block, int64_t position,
                int64_t n) {
  if (a.linear) return store(a.data + position * a.bytes, a.bytes, block, n);
  while (n > 0) {
    int64_t piece = std::min(n, a.at.row_left());
    store(a.at.ptr(), a.stride, block, piece);
    a.at.advance(piece);
    block += piece * lane_size;
    n -= piece;
  }
}

/// The address of the next n elements if they can be used where they lie, else nullptr. Steps over
/// them.
char* in_place(Access& a, int64_t position, int64_t n) {
  if (!a.same_type) return nullptr;
  if (a.linear) return a.data + position * a.bytes;
  if (!a.dense_row || n > a.at.row_left()) return nullptr;
  char* p = a.at.ptr();
  a.at.advance(n);
  return p;
}

void run_range(const Elementwise& work, int64_t begin, int64_t end) {
  const TensorIterator& it = work.it;
  const int64_t lane_size = lane_bytes(work.lane);
  const int count = it.operands;
  Access access[kMaxOperands];
  LoadFn load[kMaxOperands] = {};
  alignas(64) char block[kMaxOperands][kTile * 8];
  bool all_in_place = true;
  bool all_linear = true;
  for (int i = 0; i < count; ++i) {
    Access& a = access[i] = access_of(work, i, begin);
    if (i > 0) load[i] = load_fn(work.lane, it.operand[i].dtype);
    if (a.constant) {
      load[i](block[i], a.data, 0, std::min(kTile, end - begin));
      all_in_place = false;
      continue;
    }
    all_linear = all_linear && a.linear;
    all_in_place = all_in_place && a.same_type && (a.linear || a.dense_row);
  }
  const StoreFn store = store_fn(work.lane, it.operand[0].dtype);
  const int64_t row = it.ndim > 0 ? it.shape[0] : 1;
  const bool by_rows = !all_linear && row >= (all_in_place ? 32 : kLongRow);
  const int64_t limit = all_in_place ? std::numeric_limits<int64_t>::max() : kTile;
  // Without a common row border, tiles run across rows and every operand is gathered by itself.
  int64_t row_left = by_rows ? row - begin % row : 0;

  Tile tile{nullptr, {}, 0, work.p0, work.p1};
  for (int64_t position = begin; position < end;) {
    int64_t n = std::min(end - position, all_linear || by_rows ? limit : kTile);
    if (by_rows) {
      n = std::min(n, row_left);
      row_left = row_left == n ? row : row_left - n;
    }
    tile.n = n;
    char* out = in_place(access[0], position, n);
    if (work.fn == nullptr) {
      // A plain conversion: no block where one side is in the lane's type already.
      const char* in = access[1].constant ? block[1] : in_place(access[1], position, n);
      char* to = out ? out : block[0];
      if (in == nullptr) load_tile(access[1], load[1], lane_size, to, position, n);
      if (out == nullptr) {
        store_tile(access[0], store, lane_size, in ? in : to, position, n);
      } else if (in != nullptr) {
        std::copy_n(in, n * lane_size, out);
      }
      position += n;
      continue;
    }
    for (int i = 1; i < count; ++i) {
      const char* p = access[i].constant ? block[i] : in_place(access[i], position, n);
      if (p == nullptr) {
        load_tile(access[i], load[i], lane_size, block[i], position, n);
        p = block[i];
      }
      tile.in[i - 1] = p;
    }
    tile.out = out ? out : block[0];
    work.fn(tile);
    if (out == nullptr) store_tile(access[0], store, lane_size, block[0], position, n);
    position += n;
  }
}

/// Every operand dense and of the lane's type: one call, no set-up.
bool plain(const Elementwise& work) {
  if (!work.it.contiguous || work.fn == nullptr) return false;
  for (int i = 0; i < work.it.operands; ++i)
    if (work.it.operand[i].dtype != lane_dtype(work.lane)) return false;
  return true;
}

void run_plain(const Elementwise& work, int64_t begin, int64_t end) {
  const int64_t offset = begin * lane_bytes(work.lane);
  Tile tile{work.it.operand[0].data + offset, {}, end - begin, work.p0, work.p1};
  for (int i = 1; i < work.it.operands; ++i) tile.in[i - 1] = work.it.operand[i].data + offset;
  work.fn(tile);
}

}  // namespace

LaneType common_lane(const TensorIterator& it) {
  LaneType lane = LaneType::kI64;
  for (int i = it.operand[0].dtype == DType::kBool ? 1 : 0; i < it.operands; ++i) {
    LaneType l = lane_of(it.operand[i].dtype);
    if (l == LaneType::kF64) return l;
    if (l == LaneType::kF32) lane = l;
  }
  return lane;
}

void run_elementwise(const Elementwise& work) {
  auto run = plain(work) ? run_plain : run_range;
  if (work.it.numel <= kElementGrain) return run(work, 0, work.it.numel);
  fabric::host::parallel_for(work.it.numel, kElementGrain,
                             [&](int64_t begin, int64_t end) { run(work, begin, end); });
}

void enqueue_elementwise(const Elementwise& work, Stream& stream) {
  if (work.it.numel == 0) return;
  fabric::host::enqueue(stream.handle(), [work] { run_elementwise(work); });
}

void fail_dtype(const char* op, int id, const TensorIterator& it) {
  const char* name[kMaxOperands] = {"-", "-", "-", "-"};
  for (int i = 0; i < it.operands; ++i) name[i] = dtype_name(it.operand[i].dtype);
  fail(ErrorCode::kDtype, "%s operator %d does not take these dtypes: out %s, in %s %s %s", op, id,
       name[0], name[1], name[2], name[3]);
}

}  // namespace weft::cpu
