// `copy-direct`: every rank fetches its blocks straight from the rank that has them. The table takes
// it for gather, scatter, all-to-all (even or not) and send-receive of every size.
//
// Design. Three phases, joined by events between the comm streams:
//  1. A rank whose all-to-all is in place copies its input aside, on its comm stream. Then every
//     comm stream waits for all of them: inputs are complete, earlier collectives have passed.
//  2. Each rank fetches one block from each peer that has one for it, on its own comm stream, and
//     copies its own block. Rank q begins with rank q + 1, so no rank is asked by all at once.
//  3. Every comm stream waits for all of them again: inputs may then be written, scratch freed.
// One operation a block (pieces only through staging memory): at most n * n copies whatever the
// size. No two copies write the same block, since block r of an output comes from rank r alone.
// What breaks it: an input that overlaps an output in part; find_bad_argument() refuses that.
#include <algorithm>
#include <memory>
#include <vector>

#include "collective/algorithms.h"
#include "collective/copy/steps.h"
#include "collective/scratch.h"
#include "transfer/copy_lane.h"

namespace fabric {
namespace {

constexpr size_t kStagedPiece = 4u << 20;

class DirectCall final : public PreparedCall {
 public:
  explicit DirectCall(const CollectiveCall& call)
      : call_(call),
        args_(call.args[0]),
        n_(call.devices.size()),
        element_(dtype_bytes(args_.dtype)),
        block_(args_.count * element_),
        aside_(n_),
        lanes_(n_ * n_) {
    here_.reserve(n_);
    for (Device* device : call.devices) here_.emplace_back(*device);
    if (uneven()) find_offsets();
    if (nothing()) return;
    for (size_t q = 0; q < n_; ++q) {
      const CollectiveArgs& own = call.args[q];
      if (n_ > 1 && args_.kind == CollectiveKind::kAllToAll && own.in == own.out) {
        aside_[q] = scratch_.take(block_ * n_, comm(q));
      }
      for (size_t r = 0; r < n_; ++r) {
        if (r == q || !moves(r, q) || bytes(r, q) == 0) continue;
        auto lane = std::make_unique<CopyLane>(*call.devices[r], *call.devices[q],
                                               std::min(bytes(r, q), kStagedPiece), label_of(call));
        if (!lane->peer()) lane->reserve((bytes(r, q) + kStagedPiece - 1) / kStagedPiece);
        lanes_[q * n_ + r] = std::move(lane);
      }
    }
  }

  void enqueue() override {
    if (nothing()) return;
    for (size_t q = 0; q < n_; ++q) {
      if (aside_[q] != nullptr) {
        copy_within(call_, aside_[q], call_.args[q].in, block_ * n_, comm(q));
      }
    }
    meet();
    for (size_t q = 0; q < n_; ++q) {
      for (size_t step = 1; step < n_; ++step) {
        const size_t r = (q + step) % n_;
        if (!moves(r, q) || bytes(r, q) == 0) continue;
        lanes_[q * n_ + r]->fetch(destination(r, q), source(r, q), bytes(r, q), comm(r), comm(q));
      }
      if (moves(q, q) && aside_[q] == nullptr) {
        copy_within(call_, destination(q, q), source(q, q), bytes(q, q), comm(q));
      }
    }
    meet();
  }

 private:
  Stream& comm(size_t rank) const { return call_.comm(rank); }
  size_t root() const { return static_cast<size_t>(args_.root); }

  /// Has rank r a block for rank q?
  bool moves(size_t r, size_t q) const {
    if (args_.kind == CollectiveKind::kGather) return q == root();
    if (args_.kind == CollectiveKind::kScatter) return r == root();
    if (args_.kind == CollectiveKind::kSendReceive) return r == root() && q != root();
    return true;
  }
  bool uneven() const { return args_.kind == CollectiveKind::kAllToAllUneven; }
  /// Of the block that rank r has for rank q.
  size_t bytes(size_t r, size_t q) const {
    return uneven() ? call_.args[r].send_counts[q] * element_ : block_;
  }
  bool nothing() const {
    if (!uneven()) return block_ == 0;
    return std::ranges::all_of(call_.args, [](const auto& each) { return each.count == 0; });
  }
  // Where the blocks of an uneven all-to-all begin: by owner and other rank, in bytes.
  void find_offsets() {
    const auto run = [&](std::vector<size_t>& offsets, auto&& counts_of) {
      for (const CollectiveArgs& each : call_.args) {
        size_t at = 0;
        for (uint64_t count : counts_of(each)) {
          offsets.push_back(at);
          at += count * element_;
        }
      }
    };
    run(in_offsets_, [](const auto& each) -> const auto& { return each.send_counts; });
    run(out_offsets_, [](const auto& each) -> const auto& { return each.receive_counts; });
  }

  const char* source(size_t r, size_t q) const {
    const auto* in = static_cast<const char*>(call_.args[r].in);
    if (uneven()) return in + in_offsets_[r * n_ + q];
    if (args_.kind == CollectiveKind::kGather) return in;
    if (args_.kind == CollectiveKind::kSendReceive) return in;
    return (aside_[r] != nullptr ? aside_[r] : in) + q * block_;
  }
  char* destination(size_t r, size_t q) const {
    auto* out = static_cast<char*>(call_.args[q].out);
    if (uneven()) return out + out_offsets_[q * n_ + r];
    const bool one_block =
        args_.kind == CollectiveKind::kScatter || args_.kind == CollectiveKind::kSendReceive;
    return one_block ? out : out + r * block_;
  }

  // All comm streams wait for what every other has enqueued so far.
  void meet() {
    for (size_t r = 0; r < n_; ++r) here_[r].record(comm(r));
    for (size_t q = 0; q < n_; ++q) {
      for (size_t r = 0; r < n_; ++r) {
        if (r != q) here_[r].wait(comm(q));
      }
    }
  }

  const CollectiveCall call_;
  const CollectiveArgs& args_;
  const size_t n_;
  const size_t element_;
  const size_t block_;  // bytes that one rank sends to another, where all do the same
  std::vector<Event> here_;
  std::vector<char*> aside_;  // by rank: its input, where that is overwritten
  std::vector<size_t> in_offsets_, out_offsets_;
  std::vector<std::unique_ptr<CopyLane>> lanes_;  // q * n + r: from r to q
  Scratch scratch_;
};

bool supports(const CallShape& call) {
  const CollectiveKind kind = call.kind;
  return kind == CollectiveKind::kGather || kind == CollectiveKind::kScatter ||
         kind == CollectiveKind::kAllToAll || kind == CollectiveKind::kSendReceive ||
         kind == CollectiveKind::kAllToAllUneven;
}

std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) {
  return std::make_unique<DirectCall>(call);
}

}  // namespace

Algorithm copy_direct_algorithm() { return {"copy-direct", true, &supports, &prepare, {}}; }

}  // namespace fabric
