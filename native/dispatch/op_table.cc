// The operator table: names, parsed schemas and rows. Filled once by ensure_registered(); read by
// dispatch() and by the binding without locks. Plugins add rows behind the built-in ones (op_rows.h).
#include "dispatch/op_table.h"

#include <array>
#include <cstring>
#include <mutex>

#include "cpu/register.h"
#if defined(WEFT_HAVE_CUDA)
#include "cuda/register.h"
#endif
#include "dispatch/op_rows.h"
#include "ops/ops.h"
#include "plugin/registrar.h"

namespace weft {
namespace {

constexpr const char* kNames[] = {
#define WEFT_OP(name, schema, ...) #name,
#include "dispatch/operators.def"
#undef WEFT_OP
};
constexpr const char* kSchemas[] = {
#define WEFT_OP(name, schema, ...) schema,
#include "dispatch/operators.def"
#undef WEFT_OP
};

ArgKind parse_kind(const std::string& type, bool* mutated) {
  if (type == "Tensor!") {
    *mutated = true;
    return ArgKind::kTensor;
  }
  if (type == "Tensor") return ArgKind::kTensor;
  if (type == "Tensor?") return ArgKind::kOptionalTensor;
  if (type == "Tensor[]") return ArgKind::kTensorList;
  if (type == "float") return ArgKind::kFloat;
  if (type == "int") return ArgKind::kInt;
  if (type == "int[]") return ArgKind::kInts;
  if (type == "bool") return ArgKind::kBool;
  if (type == "dtype") return ArgKind::kDType;
  if (type == "device") return ArgKind::kDevice;
  fail(ErrorCode::kUsage, "schema: unknown argument type '%s'", type.c_str());
}

std::array<RowData, kOpCount>& rows() {
  static auto* table = [] {
    auto* t = new std::array<RowData, kOpCount>();
    for (int i = 0; i < kOpCount; ++i) {
      (*t)[i].name = kNames[i];
      (*t)[i].schema = kSchemas[i];
      parse_schema(kSchemas[i], (*t)[i]);
    }
#define WEFT_AUTOCAST(cls, op) (*t)[static_cast<size_t>(Op::op)].autocast = AutocastClass::cls;
#include "dispatch/autocast.def"
#undef WEFT_AUTOCAST
    return t;
  }();
  return *table;
}

struct NoneRow : RowData {
  NoneRow() {
    name = "none";
    schema = "none() -> 0";
  }
} g_none;
std::atomic<RowData*> g_added[1 + kMaxAddedOps] = {&g_none};
std::atomic<int> g_count{kFirstAddedOp};
std::mutex g_adding;

}  // namespace

void parse_schema(const char* schema, RowData& row) {
  std::string text = schema;
  size_t open = text.find('('), close = text.find(')'), arrow = text.find("->");
  std::string args = text.substr(open + 1, close - open - 1);
  size_t at = 0;
  while (at < args.size()) {
    size_t comma = args.find(", ", at);
    if (comma == std::string::npos) comma = args.size();
    std::string one = args.substr(at, comma - at);
    row.kinds[row.arguments++] = parse_kind(one.substr(0, one.find(' ')), &row.writes_first);
    at = comma + 2;
  }
  row.visible_outputs = text.back() == '*' ? kAnyOutputs : std::atoi(text.c_str() + arrow + 2);
}

Op add_row(RowData& row) {
  std::lock_guard lock(g_adding);
  const int id = g_count.load(std::memory_order_relaxed);
  if (id == kFirstAddedOp + kMaxAddedOps) {
    fail(
        ErrorCode::kPlugin,
        "no place for operator %s: a process takes %d operators of plugins, those of unloaded ones "
        "included",
        row.name, kMaxAddedOps);
  }
  g_added[id - kOpCount].store(&row, std::memory_order_release);
  g_count.store(id + 1, std::memory_order_release);
  return static_cast<Op>(id);
}

int op_count() { return g_count.load(std::memory_order_acquire); }

RowData& row_data(Op op) {
  const int id = static_cast<int>(op);
  if (id < kOpCount) [[likely]]
    return rows()[static_cast<size_t>(id)];
  return *g_added[id - kOpCount].load(std::memory_order_acquire);
}

const char* op_name(Op op) { return row_data(op).name; }
const char* op_schema(Op op) { return row_data(op).schema; }

void implement(Op op, const OpRow& row) { row_data(op).row = row; }

void set_override(Op op, ForwardFn forward) {
  row_data(op).override_forward.store(forward, std::memory_order_release);
}

int visible_outputs(Op op) { return row_data(op).visible_outputs; }
std::span<const ArgKind> argument_kinds(Op op) {
  RowData& row = row_data(op);
  return {row.kinds, static_cast<size_t>(row.arguments)};
}
bool writes_first_argument(Op op) { return row_data(op).writes_first; }

void ensure_registered() {
  static std::once_flag once;
  std::call_once(once, [] {
    ops::register_creation_ops();
    ops::register_elementwise_ops();
    ops::register_scalar_ops();
    ops::register_unary_ops();
    ops::register_reduction_ops();
    ops::register_matmul_ops();
    ops::register_normalization_ops();
    ops::register_loss_ops();
    ops::register_embedding_ops();
    ops::register_attention_ops();
    ops::register_view_ops();
    ops::register_joining_ops();
    ops::register_conversion_ops();
    ops::register_inplace_ops();
    ops::register_optimizer_ops();
    plugin::install();
    register_cpu_kernels();
#if defined(WEFT_HAVE_CUDA)
    register_cuda_kernels();
#endif
  });
}

}  // namespace weft
