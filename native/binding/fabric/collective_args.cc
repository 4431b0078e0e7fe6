// See binding/fabric/collective_args.h.
#include "binding/fabric/collective_args.h"

#include <numeric>
#include <utility>

#include "autograd/node.h"
#include "dispatch/op_table.h"

namespace weft::binding {

using fabric::CollectiveArgs;
using fabric::CollectiveKind;

namespace {

void check_tensor(const Tensor& t, const char* role, int rank, const Device& device,
                  const char* name) {
  if (&t.device() != &device) {
    fail(ErrorCode::kDevice, "%s: the %s of rank %d is on %s, the rank is %s", name, role, rank,
         t.device().name().c_str(), device.name().c_str());
  }
  if (!t.is_contiguous()) {
    fail(ErrorCode::kUsage, "%s: the %s of rank %d is not contiguous; pass contiguous()", name,
         role, rank);
  }
  if (grad_enabled() && t.requires_grad()) {
    fail(ErrorCode::kUsage,
         "%s: the %s of rank %d requires gradients, which a collective would not record; call it "
         "inside "
         "noGrad() or on detach()",
         name, role, rank);
  }
}

/// The call keeps the rank's tensors, of which one may be undefined, and comes behind what writes them.
void hold(CollectiveArgs& args, Tensor in, Tensor out) {
  if (in) in->storage->order(*args.stream);
  if (out) out->storage->order(*args.stream);
  auto held = std::make_shared<std::pair<Tensor, Tensor>>(std::move(in), std::move(out));
  args.keep_alive = held;
  args.on_launched = [held](Stream& comm) {
    if (held->first) held->first->storage->note_use(comm);
    if (held->second) held->second->storage->note_use(comm);
  };
}

}  // namespace

CollectiveArgs make_args(CollectiveKind kind, fabric::ReduceOp op, int root, int ranks, int rank,
                         Device& device, Tensor in, Tensor out, int64_t result_ms) {
  CollectiveArgs args;
  args.kind = kind;
  args.result_ms = result_ms;
  args.op = op;
  args.root = root;
  args.stream = &current_stream(device);
  if (kind == CollectiveKind::kBarrier) return args;
  const char* name = fabric::collective_name(kind);
  const bool gathers = kind == CollectiveKind::kGather;
  const bool scatters = kind == CollectiveKind::kScatter;
  if ((gathers || scatters) && rank != root) {
    Tensor& none = gathers ? out : in;
    if (none) {
      fail(ErrorCode::kUsage, "%s: rank %d gave an %s, which only the root, rank %d, has", name,
           rank, gathers ? "output" : "input", root);
    }
    Tensor& own = gathers ? in : out;
    if (!own) fail(ErrorCode::kUsage, "%s: rank %d has no tensor", name, rank);
    check_tensor(own, gathers ? "input" : "output", rank, device, name);
    args.dtype = own.dtype();
    args.count = static_cast<uint64_t>(own.numel());
    (gathers ? args.in = own.data() : args.out = own.data());
    hold(args, std::move(in), std::move(out));
    return args;
  }
  if (!in) fail(ErrorCode::kUsage, "%s: rank %d has no tensor", name, rank);
  if (!out && (gathers || scatters)) {
    fail(ErrorCode::kUsage, "%s: the root, rank %d, has no output", name, rank);
  }
  if (!out) out = in;
  check_tensor(in, "input", rank, device, name);
  check_tensor(out, "output", rank, device, name);
  if (in.dtype() != out.dtype()) {
    fail(ErrorCode::kDtype, "%s: rank %d has input %s and output %s", name, rank,
         dtype_name(in.dtype()), dtype_name(out.dtype()));
  }
  int64_t want_out = in.numel();
  const bool divides = scatters || kind == CollectiveKind::kReduceScatter;
  const bool to_all = kind == CollectiveKind::kAllToAll;
  if (gathers || kind == CollectiveKind::kAllGather) want_out = in.numel() * ranks;
  if (divides) want_out = in.numel() / ranks;
  bool splits = !(divides || to_all) || in.numel() % ranks == 0;
  if (out.numel() != want_out || !splits) {
    fail(ErrorCode::kShape,
         "%s over %d ranks: rank %d has input %s and output %s, which do not fit", name, ranks,
         rank, to_string(in.shape()).c_str(), to_string(out.shape()).c_str());
  }
  args.dtype = in.dtype();
  args.count = static_cast<uint64_t>(divides || to_all ? in.numel() / ranks : in.numel());
  args.in = in.data();
  args.out = out.data();
  hold(args, std::move(in), std::move(out));
  return args;
}

void note_write(const std::shared_ptr<void>& held) {
  if (!held) return;
  const auto& [in, out] = *static_cast<std::pair<Tensor, Tensor>*>(held.get());
  if (out) out->storage->bump_version(static_cast<uint16_t>(Op::copy_));
}

Tensor tensor_or_none(double handle) {
  return handle == 0 ? Tensor() : handles::get(static_cast<handles::Handle>(handle));
}

CollectiveArgs make_end(bool sends, int shown, Device& device, Tensor tensor, int64_t result_ms) {
  CollectiveArgs args;
  args.kind = CollectiveKind::kSendReceive;
  args.result_ms = result_ms;
  args.stream = &current_stream(device);
  const char* name = sends ? "send" : "receive";
  if (!tensor) fail(ErrorCode::kUsage, "%s: rank %d has no tensor", name, shown);
  check_tensor(tensor, sends ? "input" : "output", shown, device, name);
  args.dtype = tensor.dtype();
  args.count = static_cast<uint64_t>(tensor.numel());
  (sends ? args.in = tensor.data() : args.out = tensor.data());
  if (sends) {
    hold(args, std::move(tensor), {});
  } else {
    hold(args, {}, std::move(tensor));
  }
  return args;
}

CollectiveArgs make_uneven(int ranks, int rank, Device& device, Tensor in, Tensor out,
                           const std::vector<uint64_t>& counts, int64_t result_ms) {
  CollectiveArgs args;
  args.kind = CollectiveKind::kAllToAllUneven;
  args.result_ms = result_ms;
  args.stream = &current_stream(device);
  const char* name = "all_to_all_uneven";
  if (!in || !out) {
    fail(ErrorCode::kUsage, "%s: rank %d has no %s", name, rank, in ? "output" : "input");
  }
  check_tensor(in, "input", rank, device, name);
  check_tensor(out, "output", rank, device, name);
  if (in.dtype() != out.dtype()) {
    fail(ErrorCode::kDtype, "%s: rank %d has input %s and output %s", name, rank,
         dtype_name(in.dtype()), dtype_name(out.dtype()));
  }
  args.send_counts.assign(counts.begin(), counts.begin() + ranks);
  args.receive_counts.assign(counts.begin() + ranks, counts.end());
  const auto fits = [&](const Tensor& t, const std::vector<uint64_t>& parts, const char* role) {
    const uint64_t sum = std::accumulate(parts.begin(), parts.end(), uint64_t{0});
    if (static_cast<uint64_t>(t.numel()) == sum) return;
    fail(ErrorCode::kShape, "%s: the %s of rank %d is %s, but its counts add up to %llu elements",
         name, role, rank, to_string(t.shape()).c_str(), static_cast<unsigned long long>(sum));
  };
  fits(in, args.send_counts, "input");
  fits(out, args.receive_counts, "output");
  args.dtype = in.dtype();
  args.count = static_cast<uint64_t>(in.numel());
  args.in = in.data();
  args.out = out.data();
  hold(args, std::move(in), std::move(out));
  return args;
}

}  // namespace weft::binding
