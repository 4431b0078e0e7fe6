// See reducer.h.
#include "parallel/reducer.h"

#include <chrono>
#include <deque>
#include <optional>

#include "autograd/leaf.h"
#include "dispatch/work_log.h"
#include "ops/ops.h"

namespace weft {
namespace {

constexpr const char* kSecondPass =
    "a second backward pass reached a parameter whose gradient is being reduced already: call "
    "begin() before each backward pass, with 'accumulate' for all but the last, or add the losses "
    "and call backward() once";

constexpr uint64_t kNoOrder = ~uint64_t{0};

}  // namespace

struct Reducer::Bucket : BucketLayout {
  Tensor flat;                // slice of the arena; undefined with shards
  std::vector<Tensor> views;  // of flat, the place of each parameter's gradient
  int open = 0;               // parameters still without this pass's gradient
  std::shared_ptr<fabric::Work> work;
};

/// State that leaf hooks refer to weakly: a pass on another thread may still run one when the
/// reducer goes.
struct Reducer::Shared {
  Reducer* owner = nullptr;
  std::shared_ptr<fabric::Group> group;
  int rank = 0;
  std::vector<Tensor> params;
  std::vector<HookHandle> hooks;
  ReducerOptions options;
  std::optional<GradientShards> shards;
  std::vector<Bucket> buckets;
  std::vector<int> bucket_of;   // parameter -> bucket
  std::vector<char> got;        // gradient since the step began
  std::vector<char> got_now;    // gradient in this pass
  std::vector<int> seen_order;  // parameters as completed in the first reduced step
  std::vector<int> next_order;  // layout for the next step, when agreed
  bool order_known = false;
  bool step_open = false;
  BackwardMode mode = BackwardMode::kReduce;
  uint64_t vote = 0;
  size_t next_bucket = 0;  // first one not submitted
  ReducerStats stats;
  struct Timing {
    fabric::Event before, after;
  };
  std::deque<Timing> timings;

  /// From a parameter's gradient of a kReduce pass to the end of the step it is the reduction's.
  void open_gradients() {
    for (const Tensor& p : params) open_grad(p);
  }
  void note_host_wait(std::chrono::steady_clock::time_point start) {
    const std::chrono::duration<double, std::milli> waited =
        std::chrono::steady_clock::now() - start;
    stats.host_wait_ms += waited.count();
  }
  bool alone() const { return !group || group->size() == 1; }
  Device& device() const { return params[0].device(); }
};

Reducer::Reducer(std::shared_ptr<fabric::Group> group, int rank, std::vector<Tensor> params,
                 ReducerOptions options)
    : shared_(std::make_shared<Shared>()) {
  if (params.empty()) fail(ErrorCode::kUsage, "the model has no parameters to train");
  shared_->owner = this;
  shared_->group = std::move(group);
  shared_->rank = rank;
  shared_->params = std::move(params);
  shared_->options = options;
  Device& device = shared_->device();
  if (shared_->group && &shared_->group->device(rank) != &device) {
    fail(ErrorCode::kDevice, "rank %d's parameters are on %s, its device is %s", rank,
         device.name().c_str(), shared_->group->device(rank).name().c_str());
  }
  if (options.shards.group) {
    shared_->shards.emplace(options.shards, options.replicas, shared_->params, options.timeout_ms);
  }
  size_t count = shared_->params.size();
  shared_->got.assign(count, 0);
  shared_->got_now.assign(count, 0);
  std::vector<int> order;
  for (size_t i = count; i-- > 0;) order.push_back(static_cast<int>(i));
  for (size_t i = 0; i < count; ++i) {
    const Tensor& p = shared_->params[i];
    if (!p.requires_grad() || !is_leaf(p)) {
      fail(ErrorCode::kUsage, "parameter %zu is not a leaf that requires gradients", i);
    }
    if (&p.device() != &device) {
      fail(ErrorCode::kDevice, "parameter %zu is on %s, the others on %s", i,
           p.device().name().c_str(), device.name().c_str());
    }
    std::weak_ptr<Shared> weak = shared_;
    shared_->hooks.push_back(add_leaf_hook(p, [weak, i] {
      if (auto shared = weak.lock(); shared && shared->owner) {
        shared->owner->on_gradient(static_cast<int>(i));
      }
    }));
  }
  lay_out(order);
}

Reducer::~Reducer() {
  shared_->owner = nullptr;
  for (HookHandle& hook : shared_->hooks) hook.remove();
  shared_->open_gradients();
}

void Reducer::lay_out(const std::vector<int>& order) {
  Shared& s = *shared_;
  s.buckets.clear();
  s.bucket_of.assign(s.params.size(), -1);
  s.stats.bytes = 0;
  const BucketLimits limits{s.options.first_bucket_bytes, s.options.bucket_bytes};
  const std::vector<BucketLayout> layouts =
      cut_buckets(s.params, order, limits, s.group ? s.group->size() : 1);
  for (const BucketLayout& layout : layouts) {
    for (int p : layout.params) {
      const auto i = static_cast<size_t>(p);
      s.bucket_of[i] = static_cast<int>(s.buckets.size());
      s.stats.bytes += static_cast<uint64_t>(s.params[i].numel()) * dtype_bytes(layout.dtype);
    }
    s.buckets.push_back({layout});
  }
  if (s.shards && s.stats.steps > 0) {
    s.shards->lay_out_again(layouts);
  } else if (s.shards) {
    s.shards->lay_out(layouts);
  }
  for (Bucket& bucket : s.buckets) {
    if (s.shards) break;
    bucket.flat = ops::full({bucket.count}, 0, bucket.dtype, s.device());
    work_log::log(Work::kArenaFill, Op::full, bucket.flat);
    if (s.group) bucket.flat->storage->note_use(s.group->stream(s.rank));
    for (size_t k = 0; k < bucket.params.size(); ++k) {
      const Dims& shape = s.params[static_cast<size_t>(bucket.params[k])].shape();
      bucket.views.push_back(
          make_view(bucket.flat, shape, contiguous_strides(shape), bucket.places[k]));
    }
  }
  s.stats.buckets = s.buckets.size();
  lend_arena();
}

void Reducer::lend_arena() {
  Shared& s = *shared_;
  if (s.shards) {
    for (const Tensor& p : s.params) replace_grad(p, Tensor());
    return;
  }
  for (Bucket& bucket : s.buckets) {
    for (size_t k = 0; k < bucket.params.size(); ++k) {
      lend_grad(s.params[static_cast<size_t>(bucket.params[k])], bucket.views[k], true);
    }
  }
}

void Reducer::give_zeros() {
  Shared& s = *shared_;
  for (Bucket& bucket : s.buckets) {
    for (size_t k = 0; k < bucket.params.size(); ++k) {
      const auto p = static_cast<size_t>(bucket.params[k]);
      if (s.got[p]) continue;
      s.got[p] = 1;
      if (s.shards) continue;  // which take zeros where there is no gradient
      ops::fill_(bucket.views[k], 0);
      work_log::log(Work::kArenaFill, Op::fill_, bucket.views[k]);
      lend_grad(s.params[p], bucket.views[k], false);
    }
  }
}

void Reducer::begin(BackwardMode mode, uint64_t vote) {
  Shared& s = *shared_;
  if (!s.step_open) {
    if (!s.next_order.empty()) {
      lay_out(s.next_order);
      s.next_order.clear();
    }
    s.got.assign(s.params.size(), 0);
    if (!s.order_known) s.seen_order.clear();
    for (Bucket& bucket : s.buckets) bucket.work.reset();
    if (s.shards) {
      s.shards->abandon();
      const auto start = std::chrono::steady_clock::now();
      s.shards->meet_gather();
      s.note_host_wait(start);
    }
    lend_arena();  // the user may have dropped or replaced grad (zeroGrad)
    s.open_gradients();
    s.step_open = true;
  }
  s.mode = mode;
  s.vote = vote;
  s.next_bucket = 0;
  s.got_now.assign(s.params.size(), 0);
  for (Bucket& bucket : s.buckets) bucket.open = static_cast<int>(bucket.params.size());
}

void Reducer::on_gradient(int param) {
  Shared& s = *shared_;
  auto i = static_cast<size_t>(param);
  if (!s.step_open || s.got_now[i]) return;
  s.got[i] = s.got_now[i] = 1;
  if (s.mode == BackwardMode::kReduce) close_grad(s.params[i], kSecondPass);
  if (!s.order_known && s.mode == BackwardMode::kReduce) s.seen_order.push_back(param);
  --s.buckets[static_cast<size_t>(s.bucket_of[i])].open;
  if (s.mode == BackwardMode::kReduce) submit_ready();
}

void Reducer::submit_ready() {
  Shared& s = *shared_;
  while (s.next_bucket < s.buckets.size() && s.buckets[s.next_bucket].open == 0) {
    submit(s.buckets[s.next_bucket++]);
  }
}

void Reducer::submit(Bucket& bucket) {
  Shared& s = *shared_;
  if (s.alone()) return;
  if (s.shards) return s.shards->submit(static_cast<size_t>(&bucket - s.buckets.data()), s.vote);
  fabric::CollectiveArgs args;
  args.kind = fabric::CollectiveKind::kAllReduce;
  args.op = fabric::ReduceOp::kAvg;
  args.dtype = bucket.dtype;
  args.count = static_cast<uint64_t>(bucket.flat.numel());
  args.in = bucket.flat.data();
  args.out = bucket.flat.data();
  args.stream = &current_stream(s.device());
  args.vote = s.vote;
  args.keep_alive = std::make_shared<Tensor>(bucket.flat);
  bucket.work = s.group->submit(s.rank, std::move(args), s.options.timeout_ms);
}

uint64_t Reducer::finish() {
  Shared& s = *shared_;
  if (!s.step_open) fail(ErrorCode::kUsage, "reducer: finish() without begin()");
  s.step_open = false;  // whatever happens below, the next begin() starts a step
  s.open_gradients();
  if (s.mode == BackwardMode::kAbsent || s.options.zero_unused) give_zeros();
  std::string unused;
  for (size_t i = 0; i < s.params.size(); ++i) {
    if (s.got[i]) continue;
    if (!unused.empty()) unused += ',';
    unused += std::to_string(i);
  }
  if (!unused.empty()) {
    throw Error(ErrorCode::kUsage,
                "the loss did not use every parameter: those listed in fields.unused got no "
                "gradient; use them in "
                "the loss or freeze them with requiresGrad = false",
                "{\"unused\":[" + unused + "]}");
  }
  while (s.next_bucket < s.buckets.size()) submit(s.buckets[s.next_bucket++]);
  uint64_t votes = s.vote;
  ++s.stats.steps;
  if (s.alone()) return votes;

  auto start = std::chrono::steady_clock::now();
  if (s.shards) s.shards->wait_launched();
  for (Bucket& bucket : s.buckets) {
    if (bucket.work) bucket.work->wait_launched();
  }
  s.note_host_wait(start);

  Stream& compute = current_stream(s.device());
  // An event that a graph records again at each replay has no one time.
  const bool timed = !s.device().capturing();
  Shared::Timing timing;
  if (timed) timing = {fabric::Event(s.device(), true), fabric::Event(s.device(), true)};
  if (timed) timing.before.record(compute);
  if (s.shards) votes = all_votes(votes | s.shards->stream_wait(compute));
  for (Bucket& bucket : s.buckets) {
    if (!bucket.work) continue;
    bucket.work->stream_wait(compute);
    votes |= bucket.work->votes();
  }
  if (timed) {
    timing.after.record(compute);
    s.timings.push_back(std::move(timing));
    if (s.timings.size() > 64) stats();
  }
  if (timed && !s.order_known && s.mode != BackwardMode::kAccumulate) agree_on_order();
  if (s.shards && !s.next_order.empty()) lay_out(std::exchange(s.next_order, {}));
  return votes;
}

/// The votes of all ranks, from those of this rank's shard group.
uint64_t Reducer::all_votes(uint64_t votes) {
  Shared& s = *shared_;
  if (!s.options.replicas.group || s.device().capturing()) return votes;
  fabric::CollectiveArgs args;
  args.kind = fabric::CollectiveKind::kBarrier;
  args.stream = &current_stream(s.device());
  args.vote = votes;
  auto work = s.options.replicas.group->submit(s.options.replicas.rank, std::move(args),
                                               s.options.timeout_ms);
  work->wait_launched();
  return votes | work->votes();
}

void Reducer::average() {
  if (shared_->shards) shared_->shards->submit_averages();
}

void Reducer::abandon() {
  Shared& s = *shared_;
  s.step_open = false;
  s.open_gradients();
  for (Bucket& bucket : s.buckets) bucket.work.reset();
  if (s.shards) s.shards->abandon();
}

GradientShards& Reducer::shards() {
  Shared& s = *shared_;
  if (!s.shards) fail(ErrorCode::kUsage, "this reducer keeps gradients whole on every rank");
  if (!s.order_known) fail(ErrorCode::kUsage, "shards are known once a step was reduced");
  s.shards->move_params();
  return *s.shards;
}

void Reducer::agree_on_order() {
  Shared& s = *shared_;
  const bool saw = s.mode == BackwardMode::kReduce;
  // Parameters that only earlier micro-steps reached go last.
  std::vector<char> seen(s.params.size(), 0);
  for (int p : s.seen_order) seen[static_cast<size_t>(p)] = 1;
  for (size_t i = s.params.size(); i-- > 0;) {
    if (!seen[i]) s.seen_order.push_back(static_cast<int>(i));
  }
  uint32_t hash = 2166136261u;  // FNV-1a
  for (int p : s.seen_order) hash = (hash ^ static_cast<uint32_t>(p)) * 16777619u;
  // Votes are or-ed: a bit set both in the hash and in the complement means that two ranks differ. A
  // rank without a batch saw no order: with its ~0 all ranks ask again after the next step.
  fabric::CollectiveArgs args;
  args.kind = fabric::CollectiveKind::kBarrier;
  args.stream = &current_stream(s.device());
  args.vote = saw ? static_cast<uint64_t>(hash) << 32 | static_cast<uint32_t>(~hash) : kNoOrder;
  auto work = s.group->submit(s.rank, std::move(args), s.options.timeout_ms);
  work->wait_launched();
  uint64_t votes = work->votes();
  s.order_known = votes != kNoOrder;
  if ((static_cast<uint32_t>(votes >> 32) & static_cast<uint32_t>(votes)) == 0)
    s.next_order = s.seen_order;
}

std::vector<int> Reducer::order() const {
  const Shared& s = *shared_;
  if (!s.order_known) return {};
  if (!s.next_order.empty()) return s.next_order;
  std::vector<int> order;
  for (const Bucket& bucket : s.buckets) {
    order.insert(order.end(), bucket.params.begin(), bucket.params.end());
  }
  return order;
}

void Reducer::set_order(const std::vector<int>& order) {
  Shared& s = *shared_;
  if (s.step_open) fail(ErrorCode::kUsage, "the order of gradients is set between steps");
  std::vector<char> seen(s.params.size(), 0);
  for (int p : order) {
    if (p < 0 || static_cast<size_t>(p) >= seen.size() || seen[static_cast<size_t>(p)]) {
      fail(ErrorCode::kUsage, "the order of gradients has parameter %d of %zu twice or not", p,
           seen.size());
    }
    seen[static_cast<size_t>(p)] = 1;
  }
  if (order.size() != seen.size()) {
    fail(ErrorCode::kUsage, "the order of gradients has %zu parameters, not %zu", order.size(),
         seen.size());
  }
  lay_out(order);
  s.next_order.clear();
  s.order_known = true;
}

ReducerStats Reducer::stats() {
  Shared& s = *shared_;
  fabric::Driver& driver = s.device().driver();
  while (!s.timings.empty() && s.timings.front().after.query()) {
    Shared::Timing& t = s.timings.front();
    s.stats.exposed_ms += driver.elapsed_ms(t.before.handle(), t.after.handle());
    s.stats.timed_steps += 1;
    s.timings.pop_front();
  }
  return s.stats;
}

}  // namespace weft
