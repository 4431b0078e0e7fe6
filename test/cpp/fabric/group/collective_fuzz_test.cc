// Every kind of collective against a plain reference, element by element: each dtype, operation,
// number of ranks, place and way of running (called, and captured then replayed twice) on small
// counts; sampled with lost peers, delays and cuts of the ring on large ones.
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

#include "collective/algorithms.h"
#include "collective_run.h"
#include "fabric/graph.h"

namespace fabric {
namespace {

using test::Call;
using test::CallBuffers;
using test::host_devices;
using test::run_checked;

constexpr CollectiveKind kKinds[] = {
    CollectiveKind::kAllReduce,      CollectiveKind::kBroadcast,     CollectiveKind::kAllGather,
    CollectiveKind::kReduce,         CollectiveKind::kReduceScatter, CollectiveKind::kScatter,
    CollectiveKind::kGather,         CollectiveKind::kAllToAll,      CollectiveKind::kSendReceive,
    CollectiveKind::kAllToAllUneven, CollectiveKind::kCoalesced};
static_assert(std::size(kKinds) + 2 == kCollectiveKinds, "all but barrier and replay");
constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kAvg, ReduceOp::kMax, ReduceOp::kMin,
                             ReduceOp::kProd};

bool reduces(CollectiveKind kind) {
  return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduce ||
         kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kCoalesced;
}

bool exists(const Call& call, int ranks) {
  if (call.kind == CollectiveKind::kSendReceive && (ranks != 2 || call.in_place)) return false;
  if (call.kind == CollectiveKind::kAllToAllUneven && call.in_place) return false;
  if (!reduces(call.kind)) return call.op == ReduceOp::kSum;
  return call.op != ReduceOp::kAvg || is_floating(call.dtype);
}

void run_captured(Group& group, const std::vector<Device*>& devices, const Call& call) {
  CallBuffers buffers(devices, call);
  std::vector<Stream*> streams;
  std::vector<CollectiveArgs> args;
  for (size_t r = 0; r < devices.size(); ++r) {
    streams.push_back(&devices[r]->compute());
    args.push_back(buffers.args(static_cast<int>(r)));
  }
  auto capture = Capture::begin(streams);
  auto works = group.submit_all(args);
  for (size_t r = 0; r < devices.size(); ++r) {
    works[r]->wait_launched();
    works[r]->stream_wait(*streams[r]);
  }
  auto graph = capture->end();
  for (int replay = 0; replay < 2; ++replay) {
    buffers.fill();
    graph->launch(streams);
    buffers.compare();
  }
  buffers.check();
}

class CollectiveFuzz : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    devices_ = host_devices(GetParam());
    group_ = Group::create(devices_);
  }
  void TearDown() override {
    faults::clear();
    ring_tuning() = RingTuning();
  }

  void run(const Call& call, bool captured) {
    if (captured) {
      run_captured(*group_, devices_, call);
    } else {
      run_checked(*group_, devices_, call);
    }
  }

  void each_call(uint64_t count, const std::function<void(const Call&)>& body) {
    for (CollectiveKind kind : kKinds) {
      for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
        for (ReduceOp op : kOps) {
          for (bool in_place : {false, true}) {
            const int root = (dtype + static_cast<int>(op)) % GetParam();
            const Call call{kind, op, static_cast<DType>(dtype), count, root, in_place};
            if (exists(call, GetParam())) body(call);
          }
        }
      }
    }
  }

  std::vector<Device*> devices_;
  std::shared_ptr<Group> group_;
};

TEST_P(CollectiveFuzz, EveryKindDtypeOpAndPlaceMatchesTheReferenceWhenCalled) {
  for (uint64_t count : {0, 1, 37}) {
    each_call(count, [&](const Call& call) { run(call, false); });
  }
}

TEST_P(CollectiveFuzz, EveryKindDtypeOpAndPlaceMatchesTheReferenceWhenReplayed) {
  for (uint64_t count : {0, 1, 37}) {
    each_call(count, [&](const Call& call) { run(call, true); });
  }
}

TEST_P(CollectiveFuzz, SampledLargeCallsMatchTheReferenceWithLostPeersDelaysAndCuts) {
  const unsigned seed = 97u + static_cast<unsigned>(GetParam());
  std::mt19937 random(seed);
  auto any = [&](uint64_t bound) { return random() % bound; };
  for (int sample = 0; sample < 60; ++sample) {
    const Call call{kKinds[any(std::size(kKinds))],         kOps[any(std::size(kOps))],
                    static_cast<DType>(any(kDTypeCount)),   1'001 + 2 * any(12'000),
                    static_cast<int>(any(devices_.size())), any(2) == 0};
    if (!exists(call, GetParam())) continue;
    SCOPED_TRACE("seed " + std::to_string(seed) + ", sample " + std::to_string(sample));
    faults::clear();
    ring_tuning() = {.batch_bytes = 1'000 + any(40'000),
                     .piece_bytes = 200 + any(3'000),
                     .max_pieces = 1 + any(4),
                     .overlap_bytes = any(2) == 0 ? 1'000u : 1u << 30};
    const int a = static_cast<int>(any(devices_.size())),
              b = static_cast<int>(any(devices_.size()));
    if (a != b && any(2) == 0) faults::set_peer_access(a, b, false);
    if (any(4) == 0) faults::set_device_delay_us(a, 50);
    run(call, any(2) == 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, CollectiveFuzz, ::testing::Range(1, 9));

}  // namespace
}  // namespace fabric
