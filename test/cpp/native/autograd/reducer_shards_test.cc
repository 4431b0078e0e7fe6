// The reducer with shards: each rank keeps the averages of its own block, the update of one rank reaches the others, and
// the order that the ranks agree on moves what is kept already.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "autograd/engine.h"
#include "autograd/leaf.h"
#include "dispatch/op_table.h"
#include "fabric/fabric.h"
#include "ops/ops.h"
#include "parallel/reducer.h"

namespace weft {
namespace {

constexpr int64_t kShardTimeoutMs = 10'000;

std::shared_ptr<fabric::Group> group_of(std::initializer_list<int> ordinals) {
  ensure_registered();
  std::vector<Device*> devices;
  for (int r : ordinals) devices.push_back(&fabric::open_device("host:" + std::to_string(r)));
  return fabric::Group::create(devices);
}
void each_rank(int ranks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) threads.emplace_back(body, r);
  for (std::thread& thread : threads) thread.join();
}
std::vector<Tensor> parameters_on(Device& device, std::initializer_list<int64_t> sizes) {
  std::vector<Tensor> params;
  for (int64_t size : sizes) {
    params.push_back(ops::full({size}, static_cast<double>(params.size()), DType::kF32, device));
    set_requires_grad(params.back(), true);
  }
  return params;
}
void pass(const Tensor& parameter, double factor) {
  Tensor none, loss = call(Op::sum, {call(Op::mul_scalar, {parameter, factor}), Dims{}, false});
  backward({&loss, 1}, {&none, 1});
}
std::vector<float> values_of(const Tensor& t) {
  EXPECT_TRUE(
      t.device().driver().synchronize_stream(t.device().compute().handle(), kShardTimeoutMs));
  std::vector<float> values(static_cast<size_t>(t.numel()));
  std::memcpy(values.data(), t.data(), values.size() * sizeof(float));
  return values;
}
/// Is the average of parameter p's gradient, `base + p`, where the pieces say?
void expect_averages(GradientShards& shards, double base) {
  for (const ShardPiece& piece : shards.pieces(shards.rank())) {
    const auto all = values_of(shards.gradients()[static_cast<size_t>(piece.bucket)]);
    for (int64_t i = 0; i < piece.count; ++i) {
      EXPECT_EQ(all[static_cast<size_t>(piece.shard_offset + i)], base + piece.param);
    }
  }
}

TEST(ReducerShards, EachElementIsOnOneRankAndHasItsAverageInEveryStep) {
  constexpr int kRanks = 4;
  auto group = group_of({0, 1, 2, 3});
  std::vector<int64_t> held(kRanks, 0);
  each_rank(kRanks, [&](int rank) {
    auto params = parameters_on(group->device(rank), {5, 1, 700, 3});
    Reducer reducer(group, rank, params,
                    {.bucket_bytes = 64, .first_bucket_bytes = 64, .shards = {group, rank}});
    EXPECT_THROW(reducer.shards(), Error);  // where a share lies is not agreed on yet
    for (int step = 0; step < 3; ++step) {
      reducer.begin(BackwardMode::kAccumulate, 0);
      for (int p : {2, 0, 3, 1}) pass(params[static_cast<size_t>(p)], p);
      reducer.begin(BackwardMode::kReduce, uint64_t{1} << rank);
      for (int p : {2, 0, 3, 1}) pass(params[static_cast<size_t>(p)], 2 * rank);
      EXPECT_EQ(reducer.finish(), 15u);
      for (const Tensor& p : params) EXPECT_FALSE(leaf_grad(p));  // whole ones are gone
      expect_averages(reducer.shards(), 2 * 1.5);
    }
    EXPECT_EQ(reducer.order(), (std::vector<int>{2, 0, 3, 1}));
    for (const ShardPiece& piece : reducer.shards().pieces(rank)) {
      held[static_cast<size_t>(rank)] += piece.count;
    }
  });
  int64_t all = 0;
  for (int64_t count : held) all += count;
  EXPECT_EQ(all, 5 + 1 + 700 + 3);
  EXPECT_GE(held[3], 100);  // of the long one, its part
}

TEST(ReducerShards, WhatARankWritesIntoItsShareIsInTheParametersOfAll) {
  constexpr int kRanks = 3;
  auto group = group_of({0, 1, 2});
  each_rank(kRanks, [&](int rank) {
    auto params = parameters_on(group->device(rank), {50, 7});
    Reducer reducer(group, rank, params, {.shards = {group, rank}});
    reducer.begin(BackwardMode::kReduce, 0);
    for (const Tensor& p : params) pass(p, 1);
    reducer.finish();
    GradientShards& shards = reducer.shards();
    for (size_t p = 0; p < params.size(); ++p) {  // moved by value
      for (float v : values_of(params[p])) EXPECT_EQ(v, static_cast<float>(p));
    }
    const uint32_t version = params[0]->storage->version();
    for (const Tensor& block : shards.params()) ops::fill_(block, 10 + rank);
    shards.begin_gather();
    shards.finish_gather();
    EXPECT_GT(params[0]->storage->version(), version);
    for (int r = 0; r < kRanks; ++r) {
      for (const ShardPiece& piece : shards.pieces(r)) {
        const auto values = values_of(params[static_cast<size_t>(piece.param)]);
        for (int64_t i = 0; i < piece.count; ++i) {
          EXPECT_EQ(values[static_cast<size_t>(piece.param_offset + i)], 10.f + r);
        }
      }
    }
  });
}

TEST(ReducerShards, OverTwoDimensionsTheAverageAndTheVotesAreOfAllRanks) {
  constexpr int kRanks = 4;
  auto group = group_of({0, 1, 2, 3});
  const std::shared_ptr<fabric::Group> rows[] = {group_of({0, 1}), group_of({2, 3})};
  const std::shared_ptr<fabric::Group> columns[] = {group_of({0, 2}), group_of({1, 3})};
  each_rank(kRanks, [&](int rank) {
    auto params = parameters_on(group->device(rank), {33, 2});
    Reducer reducer(
        group, rank, params,
        {.shards = {rows[rank / 2], rank % 2}, .replicas = {columns[rank % 2], rank / 2}});
    for (int step = 0; step < 3; ++step) {
      reducer.begin(BackwardMode::kReduce, uint64_t{1} << rank);
      for (int p = 0; p < 2; ++p) pass(params[static_cast<size_t>(p)], p + 4 * rank);
      EXPECT_EQ(reducer.finish(), 15u);
      expect_averages(reducer.shards(), 4 * 1.5);
    }
  });
}

TEST(ReducerShards, AnUnusedParameterIsAnErrorOrZeros) {
  auto group = group_of({0, 1});
  each_rank(2, [&](int rank) {
    auto params = parameters_on(group->device(rank), {6, 9});
    Reducer strict(group, rank, params, {.shards = {group, rank}});
    strict.begin(BackwardMode::kReduce, 0);
    pass(params[0], 2);
    EXPECT_THROW(strict.finish(), Error);
    strict.abandon();
    Reducer reducer(group, rank, params, {.zero_unused = true, .shards = {group, rank}});
    reducer.begin(BackwardMode::kReduce, 0);
    pass(params[0], 2);
    reducer.finish();
    GradientShards& shards = reducer.shards();
    for (const ShardPiece& piece : shards.pieces(rank)) {
      const auto all = values_of(shards.gradients()[static_cast<size_t>(piece.bucket)]);
      EXPECT_EQ(all[static_cast<size_t>(piece.shard_offset)], piece.param == 0 ? 2.f : 0.f);
    }
  });
}

TEST(ReducerShards, ParametersThatShareMemoryAreRefused) {
  auto group = group_of({0, 1});
  Tensor whole = ops::full({8}, 1, DType::kF32, group->device(0));
  std::vector<Tensor> params = {detach(make_view(whole, {4}, {1}, 0)),
                                detach(make_view(whole, {4}, {1}, 4))};
  for (const Tensor& p : params) set_requires_grad(p, true);
  EXPECT_THROW(Reducer(group, 0, params, {.shards = {group, 0}}), Error);
}

}  // namespace
}  // namespace weft
