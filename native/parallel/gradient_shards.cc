// See gradient_shards.h.
#include "parallel/gradient_shards.h"

#include <algorithm>
#include <unordered_set>

#include "autograd/leaf.h"
#include "core/late_write.h"
#include "dispatch/work_log.h"
#include "ops/ops.h"

namespace weft {
namespace {

Tensor run_of(const Tensor& flat, int64_t from, int64_t count) {
  return make_view(flat, {count}, {1}, flat->offset + from);
}

void copy_run(const Tensor& to, int64_t at, const Tensor& from, int64_t begin, int64_t count) {
  ops::copy_(run_of(to, at, count), run_of(from, begin, count));
  work_log::log(Work::kArenaCopy, Op::copy_, to);
}

/// A call whose buffers stay until the comm stream has used them.
fabric::CollectiveArgs call_on(const Tensor& in, const Tensor& out, fabric::CollectiveKind kind,
                               int64_t count, Stream& producer) {
  fabric::CollectiveArgs args;
  args.kind = kind;
  args.op = fabric::ReduceOp::kAvg;
  args.dtype = in.dtype();
  args.count = static_cast<uint64_t>(count);
  args.in = in.data();
  args.out = out.data();
  args.stream = &producer;
  args.keep_alive = std::make_shared<std::pair<Tensor, Tensor>>(in, out);
  args.on_launched = [in, out](Stream& comm) {
    in->storage->note_use(comm);
    out->storage->note_use(comm);
  };
  return args;
}

}  // namespace

/// The all-gather of one bucket of parameters.
class GradientShards::Gather final : public LateWrite {
 public:
  Gather(const Tensor& bucket, WorkPtr work) : LateWrite(bucket->storage), work_(std::move(work)) {}

  /// In steps launched already, for begin() met the others. A capture began behind the write.
  void order(Stream& stream) override {
    if (&stream == ordered_ || stream.device().capturing()) return;
    work_->wait_launched();
    work_->stream_wait(stream);
    ordered_ = &stream;
  }
  void meet() const {
    if (ordered_ == nullptr) work_->wait_launched();
  }
  bool launched() const { return work_->launched(); }

 private:
  const WorkPtr work_;
  Stream* ordered_ = nullptr;  // the latest one that waits
};

GradientShards::GradientShards(GroupPlace shards, GroupPlace replicas, std::vector<Tensor> params,
                               int64_t timeout_ms)
    : shards_(std::move(shards)),
      replicas_(std::move(replicas)),
      params_(std::move(params)),
      timeout_ms_(timeout_ms) {
  std::unordered_set<const Storage*> seen;
  for (size_t i = 0; i < params_.size(); ++i) {
    if (seen.insert(params_[i]->storage.get()).second) continue;
    fail(ErrorCode::kUsage,
         "parameter %zu shares its memory with another one: sharding moves parameters, give each "
         "memory of its own (clone()), or use one tensor in both places",
         i);
  }
}

GradientShards::~GradientShards() {
  for (auto& gather : gathers_) {
    try {
      if (gather->launched()) gather->order(device().compute());
    } catch (const Error&) {  // a lost group: nobody can have the parameters
    }
  }
}

void GradientShards::lay_out(std::vector<BucketLayout> buckets) {
  if (moved()) fail(ErrorCode::kUsage, "the layout of shards is fixed once parameters have moved");
  buckets_ = std::move(buckets);
  gradients_.clear();
  for (size_t b = 0; b < buckets_.size(); ++b) {
    gradients_.push_back(ops::full({block(b)}, 0, buckets_[b].dtype, device()));
    work_log::log(Work::kArenaFill, Op::full, gradients_.back());
  }
  abandon();
}

void GradientShards::lay_out_again(std::vector<BucketLayout> buckets) {
  const std::vector<BucketLayout> before = std::move(buckets_);
  const std::vector<Tensor> averages = std::move(gradients_);
  lay_out(std::move(buckets));
  const std::vector<ShardPiece> own = pieces(rank());
  Stream& compute = current_stream(device());
  for (size_t b = 0; b < before.size(); ++b) {
    const int64_t old_block = before[b].count / ranks();
    Tensor whole = empty({before[b].count}, before[b].dtype, device());
    ops::copy_(own_block(whole), averages[b]);
    work_log::log(Work::kArenaCopy, Op::copy_, averages[b]);
    WorkPtr work = gather(whole, old_block);
    work->wait_launched();
    work->stream_wait(compute);
    for (size_t k = 0; k < before[b].params.size(); ++k) {
      for (const ShardPiece& piece : own) {
        if (piece.param != before[b].params[k]) continue;
        copy_run(gradients_[static_cast<size_t>(piece.bucket)], piece.shard_offset, whole,
                 before[b].places[k] + piece.param_offset, piece.count);
      }
    }
  }
}

Tensor GradientShards::take_gradients(const BucketLayout& bucket) const {
  Tensor flat = empty({bucket.count}, bucket.dtype, device());
  for (size_t k = 0; k < bucket.params.size(); ++k) {
    const Tensor& param = params_[static_cast<size_t>(bucket.params[k])];
    Tensor place = run_of(flat, bucket.places[k], param.numel());
    Tensor gradient = leaf_grad(param);
    if (gradient) {
      const Dims& shape = param.shape();
      ops::copy_(make_view(place, shape, contiguous_strides(shape), place->offset), gradient);
      work_log::log(Work::kArenaCopy, Op::copy_, place);
      replace_grad(param, Tensor());
    } else {
      ops::fill_(place, 0);
      work_log::log(Work::kArenaFill, Op::fill_, place);
    }
  }
  return flat;
}

void GradientShards::submit(size_t b, uint64_t vote) {
  average_over_replicas(false);
  Tensor flat = take_gradients(buckets_[b]);
  auto args = call_on(flat, gradients_[b], fabric::CollectiveKind::kReduceScatter, block(b),
                      current_stream(device()));
  args.vote = vote;
  scatters_[b] = shards_.group->submit(shards_.rank, std::move(args), timeout_ms_);
}

/// Bucket after bucket, so that all ranks call in one order; `all`: waits for those not launched.
void GradientShards::average_over_replicas(bool all) {
  if (!replicas_.group) return;
  while (averages_.size() < scatters_.size()) {
    const size_t b = averages_.size();
    if (!scatters_[b]) return;
    if (all) scatters_[b]->wait_launched();
    if (!scatters_[b]->launched()) return;
    averages_.push_back(replicas_.group->submit(
        replicas_.rank,
        call_on(gradients_[b], gradients_[b], fabric::CollectiveKind::kAllReduce, block(b),
                shards_.group->stream(shards_.rank)),
        timeout_ms_));
  }
}

void GradientShards::wait_launched() {
  average_over_replicas(true);
  for (WorkPtr& work : scatters_) work->wait_launched();
  for (WorkPtr& work : averages_) work->wait_launched();
}

uint64_t GradientShards::stream_wait(Stream& stream) {
  uint64_t votes = 0;
  for (WorkPtr& work : scatters_) {
    work->stream_wait(stream);
    votes |= work->votes();
  }
  for (WorkPtr& work : averages_) work->stream_wait(stream);
  return votes;
}

void GradientShards::abandon() {
  scatters_.assign(buckets_.size(), nullptr);
  averages_.clear();
  captured_gathers_.clear();
}

void GradientShards::move_params() {
  if (moved()) return;
  for (const BucketLayout& bucket : buckets_) {
    Tensor flat = ops::full({bucket.count}, 0, bucket.dtype, device());
    work_log::log(Work::kArenaFill, Op::full, flat);
    for (size_t k = 0; k < bucket.params.size(); ++k) {
      const Tensor& param = params_[static_cast<size_t>(bucket.params[k])];
      const Dims strides = contiguous_strides(param.shape());
      ops::copy_(make_view(flat, param.shape(), strides, bucket.places[k]), detach(param));
      work_log::log(Work::kArenaCopy, Op::copy_, flat);
      param->storage = flat->storage;
      param->offset = bucket.places[k];
      param->strides = strides;
      param->contiguous = true;
      param->is_view = false;
    }
    param_buckets_.push_back(std::move(flat));
  }
}

Tensor GradientShards::own_block(const Tensor& bucket) const {
  const int64_t count = bucket.numel() / ranks();
  return run_of(bucket, shards_.rank * count, count);
}

GradientShards::WorkPtr GradientShards::gather(const Tensor& bucket, int64_t block) {
  return shards_.group->submit(
      shards_.rank,
      call_on(own_block(bucket), bucket, fabric::CollectiveKind::kAllGather, block,
              current_stream(device())),
      timeout_ms_);
}

void GradientShards::begin_gather() {
  Stream& compute = current_stream(device());
  for (auto& gather : gathers_) gather->order(compute);  // of parameters that nobody used since
  gathers_.clear();
  captured_gathers_.clear();
  const bool captured = device().capturing();
  for (size_t b = param_buckets_.size(); b-- > 0;) {  // gradients come last layer first
    const Tensor& bucket = param_buckets_[b];
    WorkPtr work = gather(bucket, block(b));
    bucket->storage->bump_version(static_cast<uint16_t>(Op::copy_));
    if (captured) {
      captured_gathers_.push_back(std::move(work));
    } else {
      gathers_.push_back(std::make_unique<Gather>(bucket, std::move(work)));
    }
  }
}

void GradientShards::meet_gather() {
  for (auto& gather : gathers_) gather->meet();
}

void GradientShards::finish_gather() {
  Stream& compute = current_stream(device());
  for (auto& gather : gathers_) gather->order(compute);
  for (WorkPtr& work : captured_gathers_) {
    work->wait_launched();
    work->stream_wait(compute);
  }
  captured_gathers_.clear();
}

std::vector<Tensor> GradientShards::params() const {
  std::vector<Tensor> blocks;
  for (const Tensor& bucket : param_buckets_) blocks.push_back(own_block(bucket));
  return blocks;
}

std::vector<ShardPiece> GradientShards::pieces(int rank) const {
  return shard_pieces(params_, buckets_, rank, ranks());
}

}  // namespace weft
