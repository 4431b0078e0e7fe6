// Operator calls: the hot path from JavaScript. Arguments lie in the call buffer in schema order;
// one native call decodes, dispatches and names the results. src/tensor/operators/invoke.ts writes the
// buffer.
#include "binding/entry.h"
#include "dispatch/op_table.h"

namespace weft::binding {
namespace {

/// Reads the words of one call; throws UsageError when they run out or a value has no sense.
class Words {
 public:
  Words(const double* at, size_t count, Op op) : at_(at), end_(at + count), op_(op) {}

  double next() {
    if (at_ == end_) [[unlikely]]
      fail(ErrorCode::kUsage, "%s: too few arguments", op_schema(op_));
    return *at_++;
  }
  int64_t integer() {
    double v = next();
    if (!(v >= -9007199254740992.0 && v <= 9007199254740992.0)) [[unlikely]]
      bad(v);
    auto i = static_cast<int64_t>(v);
    if (static_cast<double>(i) != v) [[unlikely]]
      bad(v);
    return i;
  }
  int64_t in_range(int64_t limit) {
    int64_t v = integer();
    if (v < 0 || v >= limit) [[unlikely]]
      bad(static_cast<double>(v));
    return v;
  }
  Tensor tensor() { return handles::get(static_cast<handles::Handle>(in_range(kHandleLimit))); }
  Tensor optional_tensor() {
    auto handle = static_cast<handles::Handle>(in_range(kHandleLimit));
    return handle == 0 ? Tensor() : handles::get(handle);
  }
  bool done() const { return at_ == end_; }

 private:
  static constexpr int64_t kHandleLimit = int64_t{1} << 53;
  [[noreturn]] void bad(double v) const {
    fail(ErrorCode::kUsage, "%s: %g is not a valid argument here; an integer in range is needed",
         op_schema(op_), v);
  }

  const double* at_;
  const double* end_;
  Op op_;
};

void decode(OpCall& call, Words& words) {
  for (ArgKind kind : argument_kinds(call.op)) {
    switch (kind) {
      case ArgKind::kTensor:
        call.add_tensor(words.tensor());
        break;
      case ArgKind::kOptionalTensor:
        call.add_tensor(words.optional_tensor());
        break;
      case ArgKind::kTensorList: {
        SmallVector<Tensor, 8> list;
        int64_t n = words.in_range(kCallWords);
        for (int64_t i = 0; i < n; ++i) list.push_back(words.tensor());
        call.add_list({list.data(), list.size()});
        break;
      }
      case ArgKind::kFloat:
        call.add_number(words.next());
        break;
      case ArgKind::kInt:
        call.add_number(static_cast<double>(words.integer()));
        break;
      case ArgKind::kInts: {
        Dims dims;
        int64_t n = words.in_range(kCallWords);
        for (int64_t i = 0; i < n; ++i) dims.push(words.integer());
        call.add_dims(dims);
        break;
      }
      case ArgKind::kBool:
        call.add_number(words.next() != 0);
        break;
      case ArgKind::kDType:
        call.add_number(static_cast<double>(words.in_range(fabric::kDTypeCount)));
        break;
      case ArgKind::kDevice:
        call.add_number(static_cast<double>(words.in_range(65536)));
        break;
    }
  }
  if (!words.done()) fail(ErrorCode::kUsage, "%s: too many arguments", op_schema(call.op));
}

napi_value call_operator(Frame& f) {
  uint64_t op = f.integer(0, op_count() - 1);
  uint64_t count = f.integer(1, kCallWords);
  OpCall call(static_cast<Op>(op));
  double* buffer = f.words();
  Words words(buffer, count, call.op);
  decode(call, words);
  dispatch(call);
  int visible = visible_outputs(call.op);
  if (visible == kAnyOutputs) {
    // The count is returned, all handles lie in the buffer.
    if (call.outputs.size() > kCallWords) {
      fail(ErrorCode::kUsage, "%s: %zu results are too many for a call", op_name(call.op),
           call.outputs.size());
    }
    for (size_t i = 0; i < call.outputs.size(); ++i) {
      buffer[i] = static_cast<double>(f.adopt(std::move(call.outputs[i])));
    }
    return make_number(f.env, static_cast<double>(call.outputs.size()));
  }
  if (visible == 0) return make_number(f.env, 0);
  auto first = f.adopt(std::move(call.outputs[0]));
  for (int i = 1; i < visible; ++i) {
    buffer[i - 1] = static_cast<double>(f.adopt(std::move(call.outputs[i])));
  }
  return make_number(f.env, static_cast<double>(first));
}

constexpr Function kFunctions[] = {{"call", entry<call_operator>}};

}  // namespace

FunctionList call_functions() { return kFunctions; }

}  // namespace weft::binding
