// The plugin `ringallreduce`: all-reduce, reduce-scatter and all-gather inside kernels, as algorithms
// `oneshot`, `twoshot` and `ring` of a group of GPUs that reach each other. weft loads it over the C ABI; the kernels are in kernels/.
//
// A group's state holds one workspace a rank and the group's facts; a call holds the filled Args of
// every rank, so that launch() only launches. The thread's current device is left as it was.
#include <cuda_runtime_api.h>
#include <fabric/plugin_abi.h>

#include <cstdio>
#include <initializer_list>
#include <new>

#include "kernels/launch.h"
#include "shape.h"

namespace ringallreduce {
namespace {

const WeftHost* g_host = nullptr;

struct Kernels {
  const char* name;
  void (*shape)(Args&, uint64_t bytes, uint32_t multiprocessors);
  const char* (*explain)(const Args&);
  cudaError_t (*launch)(const Args&, cudaStream_t);
  cudaError_t (*resident)(const Args&, int*);
};
const Kernels kOneshot = {"oneshot", &shape_oneshot, &explain_oneshot, &launch_oneshot,
                          &resident_oneshot};
const Kernels kTwoshot = {"twoshot", &shape_twoshot, &explain_twoshot, &launch_twoshot,
                          &resident_twoshot};

const Kernels kRing = {"ring", &shape_ring, &explain_ring, &launch_ring, &resident_ring};

struct State {
  uint32_t ranks;
  uint32_t multiprocessors;  // the smallest share of all ranks
  int ordinals[kMostRanks];
  Control* controls[kMostRanks];
  void* workspaces[kMostRanks];
};

struct Call {
  Args args[kMostRanks];
};

WeftStatus say(WeftStatus status, const char* text) {
  g_host->set_error(text);
  return status;
}

WeftStatus check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return WEFT_OK;
  char text[256];
  std::snprintf(text, sizeof text, "%s: %s", what, cudaGetErrorString(status));
  cudaGetLastError();
  return say(WEFT_ERROR_DEVICE, text);
}

/// The thread's current device, put back at the end; set only where it changes, which costs 0.3 us a call.
class CurrentDevice {
 public:
  CurrentDevice() { known_ = cudaGetDevice(&before_) == cudaSuccess, now_ = before_; }
  ~CurrentDevice() {
    if (known_ && now_ != before_) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

  WeftStatus set(int device) {
    if (known_ && device == now_) return WEFT_OK;
    const WeftStatus status = check(cudaSetDevice(device), "cudaSetDevice");
    if (status == WEFT_OK) now_ = device;
    return status;
  }

 private:
  int before_ = 0, now_ = 0;
  bool known_ = false;
};

bool type_of(const WeftDtype& dtype, Type& type) {
  if (dtype.lanes != 1) return false;
  if (dtype.code == 2 && dtype.bits == 32) return type = Type::kF32, true;
  if (dtype.code == 2 && dtype.bits == 16) return type = Type::kF16, true;
  if (dtype.code == 4 && dtype.bits == 16) return type = Type::kBF16, true;
  return false;
}

/// False where no kernel does it. All-gather moves units of two bytes, whatever the elements.
bool kind_of(const WeftCall& call, Kind& kind) {
  Type type;
  switch (call.kind) {
    case WEFT_ALL_REDUCE:
      kind = Kind::kAllReduce;
      return call.op <= WEFT_PROD && type_of(call.dtype, type);
    case WEFT_REDUCE_SCATTER:
      kind = Kind::kReduceScatter;
      return (call.op == WEFT_SUM || call.op == WEFT_AVG) && type_of(call.dtype, type);
    case WEFT_ALL_GATHER:
      kind = Kind::kAllGather;
      return call.bytes % 2 == 0;
    default:
      return false;
  }
}

bool can(const WeftCall& call) {
  Kind kind;
  return call.driver == WEFT_DRIVER_CUDA && call.ranks >= 2 && call.ranks <= kMostRanks &&
         call.alignment >= 2 && (call.flags & WEFT_CALL_PEERS) != 0 && kind_of(call, kind);
}

int32_t supports_oneshot(void*, const WeftCall* call) {
  return can(*call) && call->bytes <= oneshot_limit(call->ranks);
}

int32_t supports_twoshot(void*, const WeftCall* call) { return can(*call); }

int32_t supports_ring(void*, const WeftCall* call) {
  return can(*call) && call->kind == WEFT_ALL_REDUCE && call->alignment >= 16;
}

/// What every call shares; shape() fills the rest.
Args common(const State& state, uint32_t rank) {
  Args args = {};
  args.rank = rank;
  args.ranks = state.ranks;
  for (uint32_t r = 0; r < state.ranks; ++r) args.workspaces[r] = state.workspaces[r];
  args.control = state.controls[rank];
  return args;
}

// Kernels of all ranks wait for each other: they must fit beside each other, and be loaded before.
WeftStatus check_residency(const Kernels& kernels, const State& state) {
  CurrentDevice current;
  for (uint32_t r = 0; r < state.ranks; ++r) {
    WeftStatus status = current.set(state.ordinals[r]);
    for (const Kind kind : {Kind::kAllReduce, Kind::kReduceScatter, Kind::kAllGather}) {
      if (kind != Kind::kAllReduce && &kernels == &kRing) continue;
      for (const Type type : {Type::kF16, Type::kF32, Type::kBF16}) {
        if (kind == Kind::kAllGather && type != Type::kF16) continue;
        for (uint64_t bytes = 1024; status == WEFT_OK && bytes <= 64u << 20; bytes *= 4) {
          Args args = common(state, r);
          args.kind = kind;
          args.type = type;
          args.count = bytes / (type == Type::kF32 ? 4 : 2);
          args.limit_ns = 1'000'000'000;
          kernels.shape(args, bytes, state.multiprocessors);
          int each = 0;
          status = check(kernels.resident(args, &each), "asking for a kernel's occupancy");
          if (status != WEFT_OK) return status;
          if (args.ctas > static_cast<uint32_t>(each) * state.multiprocessors) {
            return say(WEFT_FAILED, "the kernels of all ranks would not run at the same time");
          }
        }
      }
    }
    if (status != WEFT_OK) return status;
  }
  return WEFT_OK;
}

WeftStatus open_group(void* ctx, const WeftGroup* group, void** out) {
  const Kernels& kernels = *static_cast<const Kernels*>(ctx);
  auto* state = new (std::nothrow) State{};
  if (state == nullptr) return say(WEFT_ERROR_MEMORY, "no memory for a group's state");
  state->ranks = group->ranks;
  state->multiprocessors = ~0u;
  for (uint32_t r = 0; r < group->ranks; ++r) {
    const WeftMember& member = *group->members[r];
    static_assert(sizeof(Control) == sizeof(WeftControl));
    state->ordinals[r] = member.ordinal;
    state->controls[r] = reinterpret_cast<Control*>(member.control);
    if (member.multiprocessors < state->multiprocessors) {
      state->multiprocessors = member.multiprocessors;
    }
  }
  Args args = {};
  args.ranks = state->ranks;
  kernels.shape(args, 1, state->multiprocessors);
  WeftStatus status =
      g_host->workspace(group, workspace_bytes(args.capacity, state->ranks), state->workspaces);
  if (status == WEFT_OK) status = check_residency(kernels, *state);
  if (status != WEFT_OK) {
    delete state;
    return status;
  }
  *out = state;
  return WEFT_OK;
}

void close_group(void*, void* state) { delete static_cast<State*>(state); }

WeftStatus prepare(void* ctx, void* opened, const WeftCall* call, void** prepared) {
  const Kernels& kernels = *static_cast<const Kernels*>(ctx);
  const State& state = *static_cast<const State*>(opened);
  auto* mine = new (std::nothrow) Call;
  if (mine == nullptr) return say(WEFT_ERROR_MEMORY, "no memory for a call");
  for (uint32_t r = 0; r < state.ranks; ++r) {
    Args args = common(state, r);
    kind_of(*call, args.kind);
    if (args.kind == Kind::kAllGather) {
      args.type = Type::kF16;
      args.count = call->bytes / 2;
    } else {
      type_of(call->dtype, args.type);
      args.op = static_cast<Op>(call->op);
      args.count = call->count;
    }
    args.input = call->buffers[r].in;
    for (uint32_t q = 0; q < state.ranks; ++q) args.outputs[q] = call->buffers[q].out;
    // weft tells the kernels to leave at the call's limit; this one is for when nobody does.
    args.limit_ns = (static_cast<uint64_t>(call->limit_ms) + 5'000) * 1'000'000;
    kernels.shape(args, call->bytes, state.multiprocessors);
    if (const char* why = kernels.explain(args)) {
      delete mine;
      return say(WEFT_ERROR_ARGUMENT, why);
    }
    mine->args[r] = args;
  }
  *prepared = mine;
  return WEFT_OK;
}

void discard(void*, void*, void* prepared) { delete static_cast<Call*>(prepared); }

WeftStatus launch(void* ctx, void* opened, const WeftCall* on, void* prepared) {
  const Kernels& kernels = *static_cast<const Kernels*>(ctx);
  const State& state = *static_cast<const State*>(opened);
  const Call& call = *static_cast<const Call*>(prepared);
  CurrentDevice current;
  for (uint32_t r = 0; r < state.ranks; ++r) {
    WeftStatus status = current.set(state.ordinals[r]);
    if (status == WEFT_OK) {
      status = check(kernels.launch(call.args[r], static_cast<cudaStream_t>(on->streams[r])),
                     "launching a collective");
    }
    if (status != WEFT_OK) return status;
  }
  return WEFT_OK;
}

const char* const kPhases[] = {"the input of a rank", "the sum of a rank", "the start of a rank",
                               "the part of a rank", nullptr};

WeftStatus add(WeftRegistration* registration, const Kernels& kernels,
               int32_t (*supports)(void*, const WeftCall*), uint32_t flags) {
  WeftAlgorithm algorithm = {};
  algorithm.size = sizeof algorithm;
  algorithm.flags = flags | WEFT_ALGORITHM_CALL_STREAMS;
  algorithm.name = kernels.name;
  algorithm.ctx = const_cast<Kernels*>(&kernels);
  algorithm.phases = kPhases;
  algorithm.supports = supports;
  algorithm.open = &open_group;
  algorithm.close = &close_group;
  algorithm.prepare = &prepare;
  algorithm.launch = &launch;
  algorithm.discard = &discard;
  return g_host->register_algorithm(registration, &algorithm);
}

WeftStatus prefer(WeftRegistration* registration, uint32_t kind, const char* name,
                  uint32_t min_ranks, uint32_t max_ranks, uint64_t max_bytes) {
  WeftChoice choice = {};
  choice.size = sizeof choice;
  choice.kind = kind;
  choice.driver = WEFT_DRIVER_CUDA;
  choice.min_ranks = min_ranks;
  choice.max_ranks = max_ranks;
  choice.max_bytes = max_bytes;
  choice.algorithm = name;
  return g_host->add_choice(registration, &choice);
}

WeftStatus open_plugin(const WeftHost* host, WeftRegistration* registration) {
  g_host = host;
  WeftStatus status = add(registration, kOneshot, &supports_oneshot, WEFT_ALGORITHM_RANK_ORDER);
  if (status == WEFT_OK) {
    status = add(registration, kTwoshot, &supports_twoshot, WEFT_ALGORITHM_RANK_ORDER);
  }
  if (status == WEFT_OK) status = add(registration, kRing, &supports_ring, 0);
  // The first line that fits decides. From figures on two H100; more ranks by reckoning.
  static const struct {
    uint32_t kind;
    const char* name;
    uint32_t min_ranks, max_ranks;
    uint64_t max_bytes;
  } lines[] = {
      {WEFT_ALL_REDUCE, "oneshot", 2, 2, 16u << 20},
      {WEFT_ALL_REDUCE, "oneshot", 3, kMostRanks, 256u << 10},
      {WEFT_ALL_REDUCE, "twoshot", 2, kMostRanks, 64u << 20},
      {WEFT_REDUCE_SCATTER, "oneshot", 2, 2, 16u << 20},
      {WEFT_REDUCE_SCATTER, "twoshot", 2, 2, ~uint64_t{0}},
      {WEFT_REDUCE_SCATTER, "oneshot", 3, kMostRanks, 1u << 20},
      {WEFT_REDUCE_SCATTER, "twoshot", 3, kMostRanks, 64u << 20},
      {WEFT_ALL_GATHER, "oneshot", 2, 2, 16u << 20},
      {WEFT_ALL_GATHER, "oneshot", 3, kMostRanks, 1u << 20},
      {WEFT_ALL_GATHER, "twoshot", 3, kMostRanks, 16u << 20},
  };
  for (const auto& line : lines) {
    if (status != WEFT_OK) break;
    status =
        prefer(registration, line.kind, line.name, line.min_ranks, line.max_ranks, line.max_bytes);
  }
  return status;
}

}  // namespace
}  // namespace ringallreduce

const WeftPlugin weft_plugin = {
    sizeof(WeftPlugin),          WEFT_ABI_MAJOR, WEFT_ABI_MINOR, 0, "ringallreduce", "0.1.0",
    &ringallreduce::open_plugin, nullptr,
};
