// See bench/reduce_bench.h.
#include "bench/reduce_bench.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>

#include "fabric/fabric.h"
#include "fabric/graph.h"

namespace weft::bench {
namespace {

using Clock = std::chrono::steady_clock;

double since_us(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

}  // namespace

struct ReduceBench::Contestant {
  Measured result;
  bool nccl = false;
  std::string forced{};  // an algorithm of weft
  std::span<void* const> in, out;
  std::shared_ptr<fabric::Graph> graph{};
  bool good() const { return result.error.empty(); }
};

ReduceBench::ReduceBench(std::shared_ptr<fabric::Group> group, uint64_t max_bytes, DType dtype,
                         bool in_place, std::shared_ptr<const Nccl> nccl,
                         fabric::CollectiveKind kind)
    : group_(std::move(group)),
      max_bytes_(max_bytes),
      dtype_(dtype),
      in_place_(in_place),
      kind_(kind),
      pattern_(dtype, group_->size()) {
  using fabric::CollectiveKind;
  if (kind != CollectiveKind::kAllReduce && kind != CollectiveKind::kReduceScatter &&
      kind != CollectiveKind::kAllGather) {
    fail(ErrorCode::kUsage, "collectives of kind %d are not measured", static_cast<int>(kind));
  }
  if (in_place && kind != CollectiveKind::kAllReduce) {
    fail(ErrorCode::kUsage, "only all-reduces are measured in place");
  }
  for (int r = 0; r < group_->size(); ++r) {
    devices_.push_back(&group_->device(r));
    streams_.push_back(&group_->device(r).compute());
  }
  try {
    for (Device* device : devices_) {
      for (std::vector<void*>* list : {&in_, &out_}) {
        if (list == &out_ && in_place_) continue;
        blocks_.push_back(device->allocator().allocate(max_bytes, device->compute()));
        list->push_back(blocks_.back()->ptr);
      }
    }
    if (in_place_) out_ = in_;
    if (nccl) nccl_ = std::make_unique<NcclRanks>(std::move(nccl), devices_);
  } catch (...) {
    for (fabric::Block* block : blocks_) block->device->allocator().free(block);
    throw;
  }
}

ReduceBench::~ReduceBench() {
  for (fabric::Block* block : blocks_) {
    // Calls used them on the comm streams, whose work came before the compute stream's.
    block->device->allocator().free(block);
  }
}

fabric::CallShape ReduceBench::shape(uint64_t bytes, bool captured) const {
  fabric::CallShape shape;
  shape.kind = kind_;
  shape.dtype = dtype_;
  shape.ranks = group_->size();
  shape.count = count(bytes);
  shape.bytes = shape.count * dtype_bytes(dtype_);
  shape.in_place = in_place_;
  shape.captured = captured;
  shape.driver = devices_[0]->kind();
  for (const fabric::Link& link : fabric::topology(devices_)) {
    shape.peers = shape.peers && link.peer_access;
  }
  shape.group = group_->id();
  return shape;
}

uint64_t ReduceBench::count(uint64_t bytes) const {
  const uint64_t elements = bytes / dtype_bytes(dtype_);
  return kind_ == fabric::CollectiveKind::kAllReduce ? elements : elements / devices_.size();
}

uint64_t ReduceBench::out_bytes(uint64_t bytes) const {
  return kind_ == fabric::CollectiveKind::kReduceScatter ? bytes / devices_.size() : bytes;
}

uint64_t ReduceBench::wrong_of(const Contestant& each, uint64_t bytes) {
  using fabric::CollectiveKind;
  const size_t n = devices_.size();
  uint64_t wrong = 0;
  for (size_t r = 0; r < n; ++r) {
    if (kind_ == CollectiveKind::kAllGather) {
      const uint64_t part = bytes / n;
      for (size_t q = 0; q < n; ++q) {
        const char* from = static_cast<const char*>(each.out[r]) + q * part;
        wrong += pattern_.wrong(*devices_[r], from, part, 0, static_cast<int>(q));
      }
    } else {
      const size_t first = kind_ == CollectiveKind::kReduceScatter ? r * count(bytes) : 0;
      wrong += pattern_.wrong(*devices_[r], each.out[r], out_bytes(bytes), first);
    }
  }
  return wrong;
}

void ReduceBench::drain_all() {
  for (Device* device : devices_) drain(*device);
}

void ReduceBench::weft_reduce(uint64_t count, std::span<Stream* const> streams) {
  std::vector<fabric::CollectiveArgs> args(devices_.size());
  for (size_t r = 0; r < args.size(); ++r) {
    args[r].kind = kind_;
    args[r].dtype = dtype_;
    args[r].count = count;
    args[r].in = in_[r];
    args[r].out = out_[r];
    args[r].stream = streams[r];
    args[r].joins = true;
  }
  const auto works = group_->submit_all(args);
  for (const auto& work : works) work->wait_launched();
  for (size_t r = 0; r < works.size(); ++r) works[r]->stream_wait(*streams[r]);
}

void ReduceBench::enqueue(const Contestant& each, uint64_t bytes,
                          std::span<Stream* const> streams) {
  if (each.nccl) return nccl_->start(kind_, each.in, each.out, count(bytes), dtype_, streams);
  weft_reduce(count(bytes), streams);
}

std::vector<ReduceBench::Contestant> ReduceBench::contestants(const ReducePlan& plan) {
  std::vector<Contestant> list;
  const auto add = [&](Contestant each) {
    const auto& only = plan.only;
    const bool wanted =
        only.empty() || std::find(only.begin(), only.end(), each.result.label) != only.end();
    if (wanted) list.push_back(std::move(each));
  };
  Contestant chosen{{"weft"}, false, {}, in_, out_};
  chosen.result.algorithm = fabric::chosen_algorithm(shape(plan.bytes, false));
  add(std::move(chosen));
  for (const fabric::AlgorithmPtr& algorithm : fabric::algorithms()) {
    if (!algorithm->supports || !algorithm->supports(shape(plan.bytes, false))) continue;
    Contestant each{{"weft " + algorithm->name}, false, algorithm->name, in_, out_};
    each.result.algorithm = algorithm->name;
    add(std::move(each));
  }
  if (!nccl_) return list;
  for (const NcclMode mode : {NcclMode::kPlain, NcclMode::kRegistered, NcclMode::kSymmetric}) {
    Contestant each{{std::string("nccl ") + nccl_mode_name(mode)}, true, {}, in_, out_};
    each.result.error = nccl_->missing(mode);
    if (mode != NcclMode::kPlain && each.good()) {
      try {
        const NcclBuffers& own = nccl_->buffers(mode, max_bytes_);
        each.in = own.in;
        each.out = in_place_ ? own.in : own.out;
      } catch (const Error& error) {
        each.result.error = error.message();
      }
    }
    add(std::move(each));
  }
  return list;
}

// One call, or one run of the graph, into spoilt outputs. In place the inputs are made anew.
void ReduceBench::check(Contestant& each, uint64_t bytes) {
  for (size_t r = 0; r < devices_.size(); ++r) {
    const bool kept = std::find(filled_.begin(), filled_.end(), each.in[r]) != filled_.end();
    if (in_place_ || !kept) {
      pattern_.fill(*devices_[r], static_cast<int>(r), each.in[r], in_place_ ? bytes : max_bytes_);
      if (!in_place_) filled_.push_back(each.in[r]);
    }
    if (!in_place_) SumPattern::spoil(*devices_[r], each.out[r], out_bytes(bytes));
  }
  if (each.graph) {
    each.graph->launch(streams_);
  } else {
    enqueue(each, bytes, streams_);
  }
  drain_all();
  each.result.wrong += wrong_of(each, bytes);
}

std::vector<Measured> ReduceBench::measure(const ReducePlan& plan) {
  const uint64_t unit =
      dtype_bytes(dtype_) * (kind_ == fabric::CollectiveKind::kAllReduce ? 1 : devices_.size());
  if (plan.graph_launches < 1) fail(ErrorCode::kUsage, "a graph is launched at least once a round");
  if (plan.bytes == 0 || plan.bytes > max_bytes_ || plan.bytes % unit != 0) {
    fail(ErrorCode::kUsage, "a bench with buffers of %llu bytes of %s cannot take %llu bytes",
         static_cast<unsigned long long>(max_bytes_), dtype_name(dtype_),
         static_cast<unsigned long long>(plan.bytes));
  }
  std::vector<Contestant> list = contestants(plan);
  const auto forced = [&](Contestant& each, const std::function<void()>& run) {
    if (!each.good()) return;
    if (!each.forced.empty()) fabric::force_algorithm(each.forced, group_->id());
    try {
      run();
    } catch (const Error& error) {
      each.result.error = error.message();
      each.graph = nullptr;
    }
    if (!each.forced.empty()) fabric::force_algorithm("", group_->id());
  };
  for (Contestant& each : list) {
    forced(each, [&] {
      check(each, plan.bytes);
      if (plan.graph_calls == 0) return;
      auto capture = fabric::Capture::begin(streams_);
      for (int i = 0; i < plan.graph_calls; ++i) enqueue(each, plan.bytes, streams_);
      each.graph = capture->end();
      // In place a graph of several calls has no sum that can be foretold.
      if (!in_place_ || plan.graph_calls == 1) check(each, plan.bytes);
    });
  }
  std::vector<size_t> order(list.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (int round = 0; round < plan.rounds; ++round) {
    // Who goes first pays for what came before: that goes round.
    if (!order.empty()) std::rotate(order.begin(), order.begin() + 1, order.end());
    for (const size_t place : order) {
      Contestant& each = list[place];
      forced(each, [&] {
        const auto start = Clock::now();
        for (int i = 0; i < plan.calls; ++i) enqueue(each, plan.bytes, streams_);
        drain_all();
        each.result.eager_us.push_back(since_us(start) / plan.calls);
      });
    }
    for (const size_t place : order) {
      Contestant& each = list[place];
      if (!each.graph) continue;
      forced(each, [&] {
        const auto start = Clock::now();
        for (int i = 0; i < plan.graph_launches; ++i) each.graph->launch(streams_);
        drain_all();
        each.result.graph_us.push_back(since_us(start) / plan.graph_calls / plan.graph_launches);
      });
    }
  }
  std::vector<Measured> results;
  for (Contestant& each : list) results.push_back(std::move(each.result));
  return results;
}

ReduceBench::Contestant ReduceBench::only(const std::string& label, uint64_t bytes) {
  ReducePlan plan;
  plan.bytes = bytes;
  plan.only = {label};
  auto list = contestants(plan);
  if (bytes > max_bytes_ || list.empty()) {
    fail(ErrorCode::kUsage, "nothing called '%s' can take %llu bytes here", label.c_str(),
         static_cast<unsigned long long>(bytes));
  }
  if (!list[0].good()) fail(ErrorCode::kDevice, "%s", list[0].result.error.c_str());
  return std::move(list[0]);
}

void ReduceBench::start(const std::string& label, uint64_t bytes, int calls,
                        std::span<Stream* const> streams) {
  const Contestant each = only(label, bytes);
  if (streams.size() != devices_.size()) {
    fail(ErrorCode::kUsage, "%zu ranks have %zu streams", devices_.size(), streams.size());
  }
  if (!each.forced.empty()) fabric::force_algorithm(each.forced, group_->id());
  try {
    for (int i = 0; i < calls; ++i) enqueue(each, bytes, streams);
  } catch (...) {
    if (!each.forced.empty()) fabric::force_algorithm("", group_->id());
    throw;
  }
  if (!each.forced.empty()) fabric::force_algorithm("", group_->id());
}

void ReduceBench::spoil(const std::string& label, uint64_t bytes) {
  const Contestant each = only(label, bytes);
  for (size_t r = 0; r < devices_.size(); ++r) {
    SumPattern::spoil(*devices_[r], each.out[r], out_bytes(bytes));
  }
}

uint64_t ReduceBench::wrong(const std::string& label, uint64_t bytes) {
  return wrong_of(only(label, bytes), bytes);
}

}  // namespace weft::bench
