// See plugin/host_table.h. Each function checks what a plugin gave and answers with a status; no
// exception leaves one.
#include "plugin/host_table.h"

#include <atomic>
#include <cstdio>

#include "fabric/host_queue.h"
#include "plugin/status.h"
#include "plugin/views.h"

namespace fabric::plugin {
namespace {

void log_text(int32_t level, const char* text) {
  std::fprintf(stderr, "weft plugin%s: %s\n", level == WEFT_LOG_WARNING ? " warning" : "",
               text == nullptr ? "" : text);
}

// Nothing for "any".
std::optional<DType> known_dtype(WeftDtype dtype) {
  if (dtype.bits == 0) return std::nullopt;
  for (int i = 0; i < kDTypeCount; ++i) {
    const WeftDtype each = dtype_of(static_cast<DType>(i));
    if (each.code == dtype.code && each.bits == dtype.bits && dtype.lanes == 1) {
      return static_cast<DType>(i);
    }
  }
  fail(ErrorCode::kUsage, "a WeftChoice names an unknown dtype");
}

void check(bool good, const char* what) {
  if (!good) fail(ErrorCode::kUsage, "%s", what);
}

WeftStatus add_algorithm(WeftRegistration* registration, const WeftAlgorithm* algorithm) {
  return answer([&] {
    check(registration != nullptr && algorithm != nullptr,
          "register_algorithm needs the registration and an algorithm");
    WeftAlgorithm copy = {};
    // What an older or a lying plugin says is judged by wrap(); never read past its struct.
    if (algorithm->size >= sizeof copy) {
      copy = *algorithm;
    } else {
      copy.size = algorithm->size;
    }
    registration->algorithms.push_back(copy);
  });
}

WeftStatus add_choice(WeftRegistration* registration, const WeftChoice* choice) {
  return answer([&] {
    check(registration != nullptr && choice != nullptr && choice->size >= sizeof(WeftChoice) &&
              choice->algorithm != nullptr,
          "add_choice needs the registration and a whole WeftChoice with a name");
    check(choice->kind <= WEFT_BARRIER && choice->driver <= WEFT_DRIVER_CUDA,
          "a WeftChoice names an unknown kind or driver");
    Choice line;
    line.kind = static_cast<CollectiveKind>(choice->kind);
    line.name = choice->algorithm;
    line.max_bytes = choice->max_bytes;
    line.min_ranks = static_cast<int>(choice->min_ranks);
    line.max_ranks = static_cast<int>(choice->max_ranks);
    line.dtype = known_dtype(choice->dtype);
    line.driver = choice->driver == WEFT_DRIVER_CUDA ? DriverKind::kCuda : DriverKind::kHost;
    registration->choices.push_back(std::move(line));
  });
}

WeftStatus add_operator(WeftRegistration* registration, const WeftOperator* op) {
  return answer([&] {
    check(registration != nullptr && op != nullptr,
          "register_operator needs the registration and an operator");
    check(op->size == sizeof(WeftOperator), "a WeftOperator lies about its size");
    check(op->flags == 0, "a WeftOperator has flags that this weft does not know");
    check(op->schema != nullptr && op->schema[0] != '\0', "a WeftOperator lacks its schema");
    registration->operators.push_back(*op);
  });
}

WeftStatus workspace(const WeftGroup* group, uint64_t bytes, void** by_rank) {
  return answer([&] {
    check(group != nullptr && bytes > 0 && by_rank != nullptr,
          "workspace needs the group, some bytes and room for the addresses");
    auto& view = const_cast<GroupView&>(static_cast<const GroupView&>(*group));
    auto memory = std::make_unique<Workspace>(view.devices, bytes);
    for (uint32_t r = 0; r < group->ranks; ++r) by_rank[r] = memory->at(r);
    view.workspaces.push_back(std::move(memory));
  });
}

CallView& view_of(const WeftCall* call) {
  check(call != nullptr && call->buffers != nullptr, "this needs a call with buffers");
  return const_cast<CallView&>(static_cast<const CallView&>(*call));
}

WeftStatus scratch(const WeftCall* call, uint32_t rank, uint64_t bytes, void** memory) {
  return answer([&] {
    CallView& view = view_of(call);
    check(rank < view.ranks && memory != nullptr, "scratch needs a rank of the call");
    *memory = view.memory.take(bytes, *view.comms[rank]);
  });
}

WeftStatus order(const WeftCall* call, uint32_t later, uint32_t earlier) {
  return answer([&] {
    CallView& view = view_of(call);
    check(later < view.ranks && earlier < view.ranks, "order needs two ranks of the call");
    order_after(*view.comms[later], *view.comms[earlier]);
  });
}

WeftStatus enqueue(const WeftCall* call, uint32_t rank, void (*fn)(void*), void* argument) {
  return answer([&] {
    CallView& view = view_of(call);
    check(rank < view.ranks && fn != nullptr, "enqueue needs a rank of the call and a function");
    check(view.driver == WEFT_DRIVER_HOST,
          "enqueue runs functions on host devices: launch kernels on WeftMember.stream");
    host::enqueue(view.comms[rank]->handle(),
                  [owner = view.owner.lock(), fn, argument] { fn(argument); });
  });
}

std::atomic<const OperatorRegistrar*> g_registrar{nullptr};

}  // namespace

const OperatorRegistrar* operator_registrar() {
  return g_registrar.load(std::memory_order_acquire);
}

const WeftHost& host_table() {
  static const WeftHost table = [] {
    const OperatorRegistrar* registrar = operator_registrar();
    return WeftHost{
        sizeof(WeftHost), WEFT_ABI_MAJOR,
        WEFT_ABI_MINOR,   0,
        &set_error,       &log_text,
        &add_algorithm,   &add_choice,
        &workspace,       &scratch,
        &order,           &enqueue,
        &add_operator,    registrar == nullptr ? nullptr : registrar->host,
    };
  }();
  return table;
}

}  // namespace fabric::plugin

namespace fabric {

void install_operators(const OperatorRegistrar& registrar) {
  plugin::g_registrar.store(&registrar, std::memory_order_release);
}

}  // namespace fabric
